"""What `restore` writes: the estimate, the draws, the deviation map, a picture of all, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pushforward.config.restoring import Restored
from pushforward.data import dicom, hdf5, nifti
from pushforward.data.atomic import write_file
from pushforward.data.format import Format
from pushforward.data.measured import Measured
from pushforward.data.save import grid
from pushforward.inverse.operators.units import Affine
from pushforward.report.contenders import write_json
from pushforward.report.pictures import filmstrip
from pushforward.report.tiles import Tiler, coloured

_ROWS, _DRAWS = 8, 4
"""Items and draws that the picture shows at most."""


def write_restored(
    restored: Restored, form: Format, measured: Measured, source: Path, values: Mapping[str, Any]
) -> None:
    """Everything into the folder values["out"]; `source` is the file of the measurement."""
    out = Path(values["out"])
    out.mkdir(parents=True, exist_ok=True)
    image = len(form.shape) == 3
    restored.estimate.save(out / ("estimate.png" if image else "estimate.csv"))
    arrays = {"samples": restored.samples, "mean": restored.mean, "deviation": restored.deviation}
    if restored.noise is not None:
        arrays["noise"] = restored.noise
    write_arrays(out / "samples.npz", arrays)
    write_json(out / "restoration.json", {name: str(v) if isinstance(v, Path) else v for name, v in values.items()})
    if image:
        write_like(restored.mean, measured, source, out / "estimate")
        if len(restored.samples) > 1:
            write_like(restored.deviation, measured, source, out / "deviation")
            write_file(out / "deviation.png", partial(_write_map, restored.deviation))
        strip = picture(restored, form, measured)
        write_file(out / "restored.png", strip.save)


def write_like(values: np.ndarray, measured: Measured, source: Path, out: Path) -> None:
    """Grey pictures (N, 1, H, W) as the volume or the scan that was measured, where they have its sizes."""
    if values.shape[1] != 1 or measured.y.shape[-2:] != values.shape[-2:]:
        return
    slices = values[:, 0]
    if nifti.is_nifti(source):
        path = out.with_suffix(".nii.gz")
        write_file(path, lambda temporary: nifti.write_nifti(slices, temporary, source, path.name))
    elif source.suffix.lower() == dicom.SUFFIX:
        write_file(out.with_suffix(dicom.SUFFIX), lambda temporary: dicom.write_dicom(slices, temporary, source))


def picture(restored: Restored, form: Format, measured: Measured) -> Image.Image:
    """Rows of items: the truth, the measurement or A* y where they are images, draws, mean and deviation."""
    tiler, items = Tiler(form), min(_ROWS, restored.mean.shape[0])

    def shown(values: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.asarray(values, dtype=np.float64)[:items])
        return coloured(tiler.of_values(form.decode(Affine.of(form).pseudo_inverse(flat))))

    columns = {}
    if measured.x is not None and measured.x.shape == restored.estimate.values.shape:
        columns["truth"] = coloured(tiler.of_values(measured.x[:items]))
    y = measured.y.reshape(-1, *form.shape) if measured.y.size == restored.mean.size else measured.y
    if not np.iscomplexobj(y) and y.shape == restored.mean.shape:
        columns["seen"] = shown(np.nan_to_num(y))
    elif restored.back is not None:
        columns["A* y"] = shown(restored.back)
    for k in range(min(_DRAWS, len(restored.samples))):
        columns[f"draw {k + 1}"] = shown(restored.samples[k])
    columns["mean"] = shown(restored.mean)
    if len(restored.samples) > 1:
        columns["± sd"] = coloured(tiler.of_deviation(torch.from_numpy(restored.deviation[:items])))
    return filmstrip(np.stack(list(columns.values()), 1), list(columns), None, (0.0, 255.0), tiler.size)


def _write_map(deviation: np.ndarray, path: Path) -> None:
    """Deviations (N, C, H, W), the root mean square over channels, as a grid from black for 0 to white for the most."""
    size = np.sqrt(np.mean(np.square(deviation), 1))
    level = np.rint(255 * size / (float(size.max()) or 1.0)).astype(np.uint8)
    Image.fromarray(grid(level)).save(path)


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Arrays by name as .npz, or as .h5 where the name says so."""
    write = hdf5.write_h5 if path.suffix.lower() in hdf5.SUFFIXES else _write_npz
    write_file(path, lambda temporary: write(temporary, arrays))


def _write_npz(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
