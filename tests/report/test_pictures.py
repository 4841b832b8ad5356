"""Pictures hold the pixels that were given, enlarged and nothing else."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward.errors import UserError
from pushforward.report.pictures import filmstrip, grid, limits_of, pair_plots, pixels, png


def images(n=5, channels=1, h=4, w=4, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, size=(n, channels, h, w)).astype(dtype)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tile_is_the_image_enlarged_by_a_whole_factor(channels):
    x = images(3, channels)
    sheet = np.asarray(grid(x, columns=3, size=8, gap=2))
    assert sheet.shape == (8, 3 * 10 - 2, 4)
    tile = sheet[:, 10:18]
    expected = x[1].transpose(1, 2, 0).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(tile[..., :channels] if channels > 1 else tile[..., :1], expected)
    assert (sheet[:, 8:10, 3] == 0).all()  # the ground between tiles is transparent


def test_layouts_of_the_user_agree():
    x = images(4, 3, 5, 6)
    assert np.array_equal(pixels(x), pixels(x.transpose(0, 2, 3, 1)))
    assert np.array_equal(pixels(torch.from_numpy(x)), pixels(x))
    grey = images(4, 1, 5, 6)
    assert np.array_equal(pixels(grey[:, 0]), pixels(grey))


def test_other_channel_counts_are_laid_side_by_side():
    x = images(2, 2, 5, 6)
    assert np.array_equal(pixels(x)[0, :, :, 0], np.concatenate((x[0, 0], x[0, 1]), 1))


def test_limits_follow_the_type_or_are_given():
    assert limits_of(images()) == (0, 255)
    assert limits_of(images(dtype=np.uint16)) == (0, 65535)
    assert limits_of(np.array([[[-1.0, 2.0, np.nan]]])) == (-1, 2)
    assert limits_of(np.array([[[np.nan]]])) == (0, 1)
    sixteen = np.arange(17, dtype=np.uint8).reshape(1, 1, 1, 17)
    assert pixels(sixteen, (0, 16))[0, 0, :, 0].tolist() == [round(255 * i / 16) for i in range(17)]
    assert pixels(np.array([[[-9.0, 0.5, 9.0, np.nan, np.inf]]]), (0, 1))[0, 0, :, 0].tolist() == [0, 128, 255, 0, 255]


def test_sixteen_bits_are_scaled_and_not_cut():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 1, 16, 16)
    assert len(np.unique(pixels(ramp))) == 256


def test_a_constant_float_image_is_no_trouble():
    assert pixels(np.full((1, 1, 2, 2), 3.0)).max() == 0


def test_the_grid_is_about_square_and_big_images_are_not_enlarged():
    assert grid(images(10), size=4, gap=0).size == (4 * 4, 3 * 4)
    assert grid(images(1, 1, 100, 120), size=56).size == (120, 100)


def test_captions_are_drawn_below_and_do_not_touch_the_tiles():
    x = images(4)
    plain, named = grid(x, 2, size=40), grid(x, 2, ["a", "b", "c", "a long caption that does not fit"], size=40)
    assert named.height > plain.height
    array = np.asarray(named)
    assert np.array_equal(array[:40, :40], np.asarray(plain)[:40, :40])
    assert (array[40:58, :40, 3] > 0).any()
    assert (array[58:62, :40, 3] == 0).all()


def test_the_filmstrip_runs_in_time_along_rows():
    frames = [images(3), images(3)[::-1]]
    strip = np.asarray(filmstrip(frames, size=4))
    assert strip.shape == (4 * 2 + 4, 4 * 3 + 8, 4)
    assert np.array_equal(strip[:4, 8:12, 0], frames[0][1, 0])
    assert np.array_equal(strip[8:, :4, 0], frames[1][0, 0])
    named = filmstrip([torch.from_numpy(frames[0])], ["t = 1", "", "0"], ["seed 0"], size=40)
    assert named.width > 3 * 44 and named.height > 40


def test_png_is_a_file_with_the_same_pixels():
    sheet = grid(images(3, 3))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(sheet)))), np.asarray(sheet))


def test_pair_plots_draw_each_column_and_neighbouring_pairs():
    table = np.random.default_rng(0).normal(size=(50, 3))
    html = pair_plots(torch.from_numpy(table), table + 1, ["length", "<b>", "mass"])
    assert html.count("<svg") == 5
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert pair_plots(table, table).count("x3") > 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: grid(np.zeros((3, 3))), r"shape \(N, C, H, W\).*\(3, 3\)"),
        (lambda: grid(images(0)), "at least one image"),
        (lambda: grid(images(2), captions=["a"]), "2 images were given 1 captions"),
        (lambda: filmstrip([]), "one or more rows"),
        (lambda: filmstrip([images(2), images(3)]), "same number of images"),
        (lambda: filmstrip([images(2)], steps=["a"]), "2 columns but was given 1 column captions"),
        (lambda: pair_plots(np.zeros((3, 2)), np.zeros((3, 4))), "2 columns but the real data have 4"),
    ],
)
def test_wrong_input_is_one_sentence(call, says):
    with pytest.raises(UserError, match=says):
        call()
