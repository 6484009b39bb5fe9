from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from compare.study.npz import read_npz


def test_reads_what_numpy_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "a/kernel": rng.normal(size=(3, 4)),
        "fortran": np.asfortranarray(rng.normal(size=(2, 3)).astype(np.float32)),
        "nothing": np.empty((0, 2)),
        "one": np.array(3),
    }
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    names, found = read_npz(tmp_path / "x.npz")
    assert names == list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_leaves_out_what_is_not_wanted_and_still_names_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(2), b=np.ones(3))
    names, found = read_npz(tmp_path / "x.npz", ["b"])
    assert (names, list(found)) == (["a", "b"], ["a"])


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickled"):
        read_npz(tmp_path / "x.npz")


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    np.savez(file, a=np.ones(100))
    content = bytearray(file.read_bytes())
    content[400] ^= 1
    file.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile):
        read_npz(file)


def test_a_flipped_byte_of_a_packed_array_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    np.savez_compressed(file, a=np.random.default_rng(0).normal(size=100))
    content = bytearray(file.read_bytes())
    content[400] ^= 1
    file.write_bytes(content)
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        read_npz(file)


def test_a_directory_that_points_nowhere_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    np.savez(file, a=np.ones(100))
    content = bytearray(file.read_bytes())
    content[:4] = b"none"
    file.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match="local header"):
        read_npz(file)


def test_another_compression_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(100))
    with zipfile.ZipFile(tmp_path / "y.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", (tmp_path / "x.npz").read_bytes())
    with pytest.raises(zipfile.BadZipFile, match="neither deflated nor stored"):
        read_npz(tmp_path / "y.npz")
