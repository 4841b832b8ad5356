"""Folders of images: nothing is converted silently, and each bad file is named."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pushforward.data import load, save_samples
from pushforward.data.folders import read_folder
from pushforward.data.lazy import LazyImages
from pushforward.data.picture import Opening, read_picture
from pushforward.data.raw import Reading
from pushforward.errors import UserError


def pixels(shape=(6, 5), dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def folder(tmp_path, count=6, shape=(6, 5), dtype=np.uint8, suffix=".png", classes=()):
    for i in range(count):
        place = tmp_path / classes[i % len(classes)] if classes else tmp_path
        place.mkdir(exist_ok=True, parents=True)
        Image.fromarray(pixels(shape, dtype, i)).save(place / f"{i:03d}{suffix}")
    return tmp_path


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".TIFF", ".webp", ".jpg", ".JPEG"])
def test_every_extension_in_any_case(tmp_path, suffix):
    data = load(folder(tmp_path, suffix=suffix))
    assert data.shape == ((3 if suffix == ".webp" else 1), 6, 5)
    assert len(data.train) + len(data.validation) + len(data.test) == 6


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (6, 5, 4)])
def test_pictures_go_in_and_come_back(tmp_path, shape):
    data = load(folder(tmp_path / "in", shape=shape), validation=0, test=0)
    np.testing.assert_array_equal(data.train.values[2], pixels(shape, seed=2))
    back = data.format.decode(data.train.all().values)
    out = save_samples(back, None, data.format, tmp_path / "out")
    for i, path in enumerate(sorted(out.iterdir())):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels(shape, seed=i))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_kept_and_said(tmp_path, suffix):
    data = load(folder(tmp_path / "in", dtype=np.uint16, suffix=suffix), validation=0, test=0)
    assert data.format.mode == "I;16" and data.format.dtype == np.uint16
    assert any(line.startswith("16-bit grey kept as uint16") for line in data.messages)
    back = data.format.decode(data.train.all().values)
    np.testing.assert_array_equal(back[3], pixels(dtype=np.uint16, seed=3))
    again = load(save_samples(back, None, data.format, tmp_path / "out"), validation=0, test=0)
    np.testing.assert_array_equal(again.train.values, back)
    picture = Image.open(save_samples(back, None, data.format, tmp_path / "grid.png"))
    assert picture.mode == "I;16"


def test_one_sub_folder_per_class(tmp_path):
    data = load(folder(tmp_path / "in", 30, classes=("cat", "dog", "owl")))
    assert data.format.label_names == ("cat", "dog", "owl") and data.num_classes == 3
    assert (np.bincount(data.train.labels) == 8).all() and (np.bincount(data.test.labels) == 1).all()
    form = data.format
    out = save_samples(data.train.values, data.train.labels, form, tmp_path / "out")
    assert sorted(p.name for p in out.iterdir()) == ["cat", "dog", "owl"] and len(list(out.rglob("*.png"))) == 24
    assert load(tmp_path / "in", labels=False).num_classes is None


def test_numbered_classes_are_in_numerical_order(tmp_path):
    assert load(folder(tmp_path, 6, classes=("10", "9", "2"))).format.label_names == ("2", "9", "10")


def test_folders_that_are_split_already(tmp_path):
    folder(tmp_path / "train", 12, classes=("a", "b"))
    folder(tmp_path / "test", 4, classes=("a", "b"))
    data = load(tmp_path)
    assert data.format.label_names == ("a", "b")
    assert (len(data.train), len(data.validation), len(data.test)) == (11, 1, 4)
    assert "split as the folders inside say" in data.messages
    folder(tmp_path / "val", 3)
    with pytest.raises(UserError, match=r"has labels and .* has none"):
        load(tmp_path)
    assert len(load(tmp_path, labels=False).validation) == 3


def test_one_folder_inside_is_no_class(tmp_path):
    data = load(folder(tmp_path, 4, classes=("images",)))
    assert data.num_classes is None and any("no classes" in line for line in data.messages)


def test_hidden_files_are_ignored_and_others_counted(tmp_path):
    folder(tmp_path)
    (tmp_path / ".hidden.png").write_bytes(b"junk")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.png").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("hello")
    data = load(tmp_path)
    assert "other files ignored: 1 .txt" in data.messages


def test_linked_folders_are_read_once(tmp_path):
    folder(tmp_path / "elsewhere", 4)
    (tmp_path / "root").mkdir()
    for name in ("a", "b"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    assert len(load(tmp_path / "root", validation=0, test=0).train) == 4


@pytest.mark.parametrize(
    ("mode", "kept", "said"),
    [
        ("1", "L", "black and white"),
        ("P", "RGB", "palette: converted to RGB without loss"),
        ("LA", "RGBA", "grey with alpha"),
    ],
)
def test_lossless_conversions_are_said(tmp_path, mode, kept, said):
    originals = [Image.fromarray(pixels((6, 5, 3), seed=i)).convert(mode) for i in range(3)]
    for i, image in enumerate(originals):
        image.save(tmp_path / f"{i}.png")
    data = load(tmp_path, validation=0, test=0)
    assert data.format.mode == kept and said in " ".join(data.messages)
    for i, image in enumerate(originals):
        np.testing.assert_array_equal(data.train.values[i], np.asarray(image.convert(kept)))


def test_transparent_palette_keeps_alpha(tmp_path):
    for i in range(2):
        Image.fromarray(pixels((6, 5, 3), seed=i)).convert("P").save(tmp_path / f"{i}.png", transparency=0)
    assert load(tmp_path).format.mode == "RGBA"


def test_real_valued_tiff_is_kept(tmp_path):
    values = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)
    for i in range(4):
        Image.fromarray(values[i]).save(tmp_path / f"{i}.tif")
    data = load(tmp_path, validation=0, test=0)
    np.testing.assert_array_equal(data.train.values, values)
    values[1, 2, 2] = np.nan
    Image.fromarray(values[1]).save(tmp_path / "1.tif")
    with pytest.raises(UserError, match=r"not finite in 1 image: .*1.tif"):
        load(tmp_path)


def test_colour_beyond_8_bits_is_said(tmp_path):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(range(30)) for _ in range(6)))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(content)
    data = load(tmp_path)
    assert any("16 bits per colour channel, of which Pillow keeps 8" in line for line in data.messages)


def test_turned_and_animated_pictures_are_said(tmp_path):
    image = Image.fromarray(pixels((4, 6)))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    frames = [Image.fromarray(pixels((6, 4), seed=i)) for i in range(2)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    data = load(tmp_path, validation=0, test=0)
    text = " ".join(data.messages)
    assert "EXIF" in text and "several frames" in text and data.shape == (1, 6, 4)
    np.testing.assert_array_equal(data.train.values[0], np.rot90(pixels((4, 6)), -1))


def refused(path, sentence, **options):
    with pytest.raises(UserError, match=sentence) as found:
        load(path, **options)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_empty_folders_say_what_was_looked_for(tmp_path):
    refused(tmp_path, r"no images in .*: \.png, \.jpg, .* and no files found")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.gif").write_text("x")
    text = refused(tmp_path, "no images in")
    assert "1 .txt" in text and "1 .gif" in text


def test_mixed_sizes_are_counted_and_named(tmp_path):
    folder(tmp_path)
    Image.fromarray(pixels((9, 7))).save(tmp_path / "odd.png")
    assert "6 of 5×6, 1 of 7×9 (a file with 7×9: odd.png)" in refused(tmp_path, "mixes image sizes")


def test_mixed_modes_are_counted_and_converted_only_if_asked(tmp_path):
    folder(tmp_path, shape=(6, 5, 3))
    Image.fromarray(pixels(dtype=np.uint16)).save(tmp_path / "deep.png")
    text = refused(tmp_path, "mixes colour modes")
    assert "6 RGB, 1 16-bit grey (I;16)" in text and "deep.png" in text and "nothing was converted" in text
    data = load(tmp_path, mode="RGB", validation=0, test=0)
    assert "1 of 7 images: each was converted from I;16 to RGB as asked" in data.messages
    deep = data.train.values[6]  # scaled by its 16 bits, not clipped to white
    np.testing.assert_array_equal(deep[..., 0], np.round(pixels(dtype=np.uint16) / 257).astype(np.uint8))
    with pytest.raises(UserError, match="mode='CMYK' was given"):
        load(tmp_path, mode="CMYK")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_truncated_images_are_named(tmp_path, suffix):
    folder(tmp_path, 4, shape=(40, 40, 3), suffix=suffix)
    path = tmp_path / f"002{suffix}"
    path.write_bytes(path.read_bytes()[:-700])
    assert f"002{suffix}" in refused(tmp_path, "cut short")


def test_what_is_not_an_image_is_named(tmp_path):
    folder(tmp_path)
    (tmp_path / "fake.png").write_text("not an image")
    assert "fake.png" in refused(tmp_path, "unknown format")
    (tmp_path / "fake.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n")
    refused(tmp_path, "unknown format")  # PostScript would run an interpreter


def test_oversized_images_are_refused_before_they_are_decoded(tmp_path):
    folder(tmp_path)
    refused(tmp_path, r"is 5×6 = 30 pixels, and the limit is 20", max_pixels=20)
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    bomb += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT"
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert "bomb.png" in refused(tmp_path, "too many pixels|pixels, and the limit")


def test_strange_modes_are_refused(tmp_path):
    for i in range(3):
        Image.fromarray(pixels((6, 5, 4), seed=i), "CMYK").save(tmp_path / f"{i}.tif")
    refused(tmp_path, "colour mode CMYK")
    assert load(tmp_path, mode="RGB").format.mode == "RGB"


def test_32_bit_grey_beyond_16_bits_is_refused(tmp_path):
    for i in range(2):
        Image.fromarray(np.full((6, 5), 70000, np.int32)).save(tmp_path / f"{i}.tif")
    refused(tmp_path, "outside 0 … 65535")
    with pytest.raises(UserError, match="real numbers, which cannot be converted"):
        Image.fromarray(np.zeros((6, 5), np.float32)).save(tmp_path / "0.tif")
        load(tmp_path, mode="L")


def test_images_beside_class_folders_are_named(tmp_path):
    folder(tmp_path, classes=("a", "b"))
    folder(tmp_path, 2)
    refused(tmp_path, r"2 images beside its class folders \(a, b\), first 000.png")
    assert len(load(tmp_path, labels=False, validation=0, test=0).train) == 8


def test_one_image_is_too_few(tmp_path):
    refused(folder(tmp_path, 1), "1 item, and at least 2")


def test_large_folders_stay_on_disk_and_give_the_same_batches(tmp_path):
    folder(tmp_path, 9, shape=(6, 5, 3), classes=("a", "b", "c"))
    kept, lazy = load(tmp_path), load(tmp_path, memory_limit=100)
    assert isinstance(lazy.train.values, LazyImages) and any("decoded as needed" in line for line in lazy.messages)
    assert lazy.fingerprint == kept.fingerprint and lazy.format == kept.format
    for split in ("train", "validation", "test"):
        a, b = getattr(kept, split).all(), getattr(lazy, split).all()
        assert (a.values == b.values).all() and (a.labels == b.labels).all()
    assert lazy.train.values[1:3].shape == (2, 6, 5, 3)
    path = lazy.train.values.paths[0]
    Image.fromarray(pixels((3, 3))).save(path)
    with pytest.raises(UserError, match="is now 3×3 uint8, and was 6×5×3"):
        lazy.train.batch([0])
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        lazy.train.batch([0])


def test_the_fingerprint_follows_the_contents(tmp_path):
    folder(tmp_path / "one")
    before = load(tmp_path / "one").fingerprint
    (tmp_path / "one").rename(tmp_path / "two")
    assert load(tmp_path / "two").fingerprint == before
    Image.fromarray(pixels(seed=99)).save(tmp_path / "two" / "003.png")
    assert load(tmp_path / "two").fingerprint != before


def test_labels_may_be_given_for_a_folder(tmp_path):
    raw = read_folder(folder(tmp_path), Reading(labels=[0, 1, 0, 1, 0, 1]))
    np.testing.assert_array_equal(raw.labels, [0, 1, 0, 1, 0, 1])


SEEDS = {}


def encoded(folder_path, suffix):
    if suffix not in SEEDS:
        path = folder_path / f"seed{suffix}"
        Image.fromarray(pixels((8, 8, 3))).save(path)
        SEEDS[suffix] = path.read_bytes()
    return SEEDS[suffix]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what is then refused
@given(
    st.sampled_from([".png", ".jpg", ".bmp", ".tif", ".webp"]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    st.one_of(st.none(), st.integers(0, 400)),
)
def test_damaged_images_are_read_or_refused(tmp_path_factory, suffix, flips, cut):
    place = tmp_path_factory.getbasetemp()
    content = bytearray(encoded(place, suffix))
    for at, byte in flips:
        content[at % len(content)] = byte
    path = place / f"damaged{suffix}"
    path.write_bytes(bytes(content[:cut]))
    try:
        picture = read_picture(path, Opening(max_pixels=10_000))
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert picture.pixels.size


@given(st.binary(max_size=100))
def test_random_bytes_as_an_image(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"random\.png"):
        read_picture(path, Opening())


def test_the_fingerprint_tells_converted_pictures_from_the_files(tmp_path):
    for i in range(4):
        Image.fromarray(np.full((4, 4), 1000 * i, np.uint16)).save(tmp_path / f"{i}.png")
    deep, converted = load(tmp_path), load(tmp_path, mode="L")
    assert deep.format.shape == converted.format.shape and deep.fingerprint != converted.fingerprint
