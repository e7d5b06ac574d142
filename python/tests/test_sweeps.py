"""Sweeps in chunks: the same table however it is cut, interrupted or spread."""

import os

import pytest

import wafersim
from wafersim.sweeps import LISTS, _slices, chunks

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

ASKED = {"model": "llama-3.1-8b", "wafers": [1, 2], "context": ["1k", "2k", "4k"], "users": [1, 2, 4, 8]}


def rows(folder):
    return parquet.read_table(folder).to_pylist()


def test_slices_make_up_the_grid_in_its_order():
    lists = {name: [] for name in LISTS} | {"wafers": ["1", "2"], "context": ["a", "b", "c"], "users": ["x", "y", "z", "w"]}
    whole = [(w, c, u) for w in lists["wafers"] for c in lists["context"] for u in lists["users"]]
    for most in (1, 2, 3, 4, 5, 8, 12, 24, 100):
        parts = list(_slices(lists, most))
        cut = [(w, c, u) for part in parts for w in part["wafers"] for c in part["context"] for u in part["users"]]
        assert cut == whole, most
        assert all(len(p["wafers"]) * len(p["context"]) * len(p["users"]) <= most for p in parts)


def test_a_sweep_is_the_plan_in_files(tmp_path):
    done = []
    assert wafersim.sweep(tmp_path / "a", **ASKED, points_per_chunk=5, progress=lambda *at: done.append(at)) == 24
    plan = wafersim.plan(**ASKED, search="none")
    assert rows(tmp_path / "a") == pyarrow.table(plan).to_pylist()
    assert done[-1][0] == done[-1][1]


def test_what_is_there_is_not_computed_again(tmp_path):
    wafersim.sweep(tmp_path, **ASKED, points_per_chunk=4)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    lost = sorted(name for name in before if name.endswith(".parquet"))[2]
    (tmp_path / lost).unlink()
    assert len(chunks(tmp_path, **ASKED, points_per_chunk=4)) == 1
    assert wafersim.sweep(tmp_path, **ASKED, points_per_chunk=4) == 4
    assert before == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}, "the same bytes"


def test_a_sweep_has_a_mapping_and_a_folder_for_each_value(tmp_path):
    asked = {**ASKED, "context": ["1k"], "mapping": "best"}
    assert wafersim.sweep(tmp_path, **asked, partition_by="wafers") == 8
    assert sorted(name for name in os.listdir(tmp_path) if "=" in name) == ["by_wafers=1", "by_wafers=2"]
    table = parquet.read_table(tmp_path)
    given = pyarrow.table(wafersim.plan(**asked, search="none"))
    assert table.column("tokens_per_second_per_user").to_pylist() == given.column("tokens_per_second_per_user").to_pylist()
    assert set(table.column("by_wafers").to_pylist()) == {1, 2}
    with pytest.raises(wafersim.WafersimError, match="partition_by"):
        chunks(tmp_path / "other", **ASKED, partition_by="layers")


def test_shards_make_the_same_folder(tmp_path):
    assert wafersim.sweep(tmp_path / "whole", **ASKED, points_per_chunk=4) == 24
    for shard, points in [("2/4", 8), ("1/4", 8), ("3/4", 4), ("4/4", 4)]:
        assert wafersim.sweep(tmp_path / "parts", **ASKED, points_per_chunk=4, shard=shard) == points
    files = sorted(os.listdir(tmp_path / "whole"))
    assert files == sorted(os.listdir(tmp_path / "parts"))
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes() for name in files)
    for shard in ("0/4", "5/4", "1", "1/4/2", "-1/4", "a/b", ""):
        with pytest.raises(wafersim.WafersimError, match="such as 2/8"):
            chunks(tmp_path / "parts", **ASKED, shard=shard)


def test_another_sweep_is_refused(tmp_path):
    chunks(tmp_path, **ASKED)
    with pytest.raises(wafersim.WafersimError, match="another sweep"):
        chunks(tmp_path, **{**ASKED, "users": [1]})


def test_ray_gives_the_same_bytes_though_a_worker_is_lost(tmp_path):
    ray = pytest.importorskip("ray")
    import signal
    import threading
    import time

    import wafersim.ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        wafersim.sweep(tmp_path / "alone", **ASKED, points_per_chunk=1)

        killed = []

        def kill_one():
            # The first task of a worker imports what it needs, which takes long enough to meet it.
            for _ in range(3000):
                for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
                    try:
                        with open(f"/proc/{pid}/cmdline", "rb") as words:
                            is_at_work = b"ray::_computed" in words.read()
                    except OSError:
                        continue
                    if is_at_work:
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                        return
                time.sleep(0.01)

        killer = threading.Thread(target=kill_one)
        killer.start()
        assert wafersim.ray.sweep(tmp_path / "ray", **ASKED, points_per_chunk=1) == 24
        killer.join()
        assert killed, "no worker was met at work"
    finally:
        ray.shutdown()
    files = sorted(os.listdir(tmp_path / "alone"))
    assert files == sorted(os.listdir(tmp_path / "ray"))
    assert all((tmp_path / "alone" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes() for name in files)
