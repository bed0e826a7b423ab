"""Broken inputs: one clear line, the right exit code, and nothing left behind."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenario_files import (
    LIMIT_S,
    change,
    copy_single,
    topis,
    topis_command,
    tree,
)

pytest.importorskip("libsumo")

NET, ROUTES, CONFIG = "single.net.xml", "single.rou.xml", "single.sumocfg"


def refused(folder: Path, code: int, *arguments: object) -> str:
    """The one line of a refused command that leaves its folder as it was."""
    before = tree(folder)
    done = topis(*arguments, cwd=folder, code=code)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert tree(folder) == before
    return done.stderr


# ---- breaking the files of a scenario ----


def truncated_gzip(folder: Path) -> None:
    packed = gzip.compress((folder / NET).read_bytes())
    (folder / "net.net.xml.gz").write_bytes(packed[: len(packed) // 2])
    change(folder / CONFIG, NET, "net.net.xml.gz")


def corrupt_gzip(folder: Path) -> None:
    packed = bytearray(gzip.compress((folder / NET).read_bytes()))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = bytes(40)
    (folder / "net.net.xml.gz").write_bytes(packed)
    change(folder / CONFIG, NET, "net.net.xml.gz")


def unknown_root(folder: Path) -> None:
    (folder / NET).write_text('<roads version="1.20"><edge id="a"/></roads>\n')


def missing_net(folder: Path) -> None:
    (folder / NET).unlink()


def no_net_named(folder: Path) -> None:
    change(folder / CONFIG, f'<net-file value="{NET}" />', "")


def duplicate_edge(folder: Path) -> None:
    change(folder / NET, '<edge id="N_X"', '<edge id="W_X"')


def wrong_state_length(folder: Path) -> None:
    change(folder / NET, 'state="', 'state="r', 1)


def negative_duration(folder: Path) -> None:
    text = (folder / NET).read_text()
    start = text.index('<phase duration="') + len('<phase duration="')
    (folder / NET).write_text(text[:start] + "-" + text[start:])


def detector_on_missing_lane(folder: Path) -> None:
    (folder / "own.add.xml").write_text(
        '<additional><inductionLoop id="mine" lane="nowhere_0" pos="1" period="60" '
        'file="mine.xml"/></additional>\n'
    )
    change(
        folder / CONFIG, "<route-files", '<additional-files value="own.add.xml" />\n  <route-files'
    )


def unknown_edge_in_route(folder: Path) -> None:
    change(folder / ROUTES, ' edges="', ' edges="nowhere ', 1)


def missing_routes(folder: Path) -> None:
    (folder / ROUTES).unlink()


def config_not_xml(folder: Path) -> None:
    (folder / CONFIG).write_text("net-file = single.net.xml\n")


def config_of_another_kind(folder: Path) -> None:
    (folder / CONFIG).write_text("<routes/>\n")


def step_length_not_a_number(folder: Path) -> None:
    change(folder / CONFIG, '<step-length value="1" />', '<step-length value="often" />')


# What breaks, exit code, what the line must name.
BROKEN: list[tuple[Callable[[Path], None], int, tuple[str, ...]]] = [
    (truncated_gzip, 3, ("net.net.xml.gz", "damaged", "build it again")),
    (corrupt_gzip, 3, ("net.net.xml.gz", "damaged", "build it again")),
    (unknown_root, 3, (NET, "<roads>", "SUMO network")),
    (missing_net, 3, (CONFIG, NET, "correct the path")),
    (no_net_named, 3, (CONFIG, "net-file")),
    (duplicate_edge, 3, (NET, "'W_X'", "twice")),
    (wrong_state_length, 3, (NET, "'X'", "state")),
    (negative_duration, 3, (NET, "'X'", "'-", "give 0 ")),
    (detector_on_missing_lane, 4, (CONFIG, "nowhere_0", "mine", "correct")),
    (unknown_edge_in_route, 4, (CONFIG, "nowhere", "correct")),
    (missing_routes, 3, (CONFIG, ROUTES, "correct the path")),
    (config_not_xml, 3, (CONFIG, "not well-formed", "check")),
    (config_of_another_kind, 3, (CONFIG, "<routes>", ".sumocfg")),
    (step_length_not_a_number, 3, (CONFIG, "step-length", "often", "seconds")),
]


@pytest.mark.parametrize(("broken", "code", "names"), BROKEN, ids=[b[0].__name__ for b in BROKEN])
def test_broken_scenario(
    broken: Callable[[Path], None], code: int, names: tuple[str, ...], tmp_path: Path
) -> None:
    config = copy_single(tmp_path)
    broken(tmp_path)
    line = refused(tmp_path, code, "simulate", config.name, "-c", "shipped", "--out", "a/b/out")
    for name in names:
        assert name in line


# ---- settings and names ----


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[sensing]\nprobe_share = nan\n", ("my.toml", "sensing.probe_share", "finite number")),
        ("[sensing]\nprobes = 0.1\n", ("my.toml", "sensing.probes", "probe_share")),
        ("[sensing]\nprobe_share = 10\n", ("my.toml", "sensing.probe_share", "0 to 1")),
        ("[sensing]\nprobe_share = \n", ("my.toml", "not TOML")),
        ("[sensors]\n", ("my.toml", "sensors", "[sensing]")),
    ],
    ids=["nan", "unknown key", "out of range", "not toml", "unknown table"],
)
def test_broken_sensing_file(text: str, names: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(text)
    config = copy_single(tmp_path)
    line = refused(tmp_path, 3, "simulate", config.name, "--sensing", "my.toml", "-o", "out")
    for name in names:
        assert name in line


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("-c", "clever"), ("'clever'", "max-pressure")),
        (("--sensing", "village"), ("'village'", "city")),
        (("-c", "actuated", "--set", "speed=1"), ("actuated", "'speed'", "known are")),
        (("-c", "shipped", "-c", "shipped"), ("twice",)),
        (("--seed", "1", "--seeds", "2"), ("--seed", "--seeds")),
    ],
    ids=["controller", "sensing", "setting", "twice", "seeds"],
)
def test_wrong_names(arguments: tuple[str, ...], names: tuple[str, ...], tmp_path: Path) -> None:
    config = copy_single(tmp_path)
    line = refused(tmp_path, 3, "simulate", config.name, *arguments)
    for name in names:
        assert name in line


def test_unknown_scenario_lists_the_known_ones(tmp_path: Path) -> None:
    line = refused(tmp_path, 3, "simulate", "atlantis")
    assert "'atlantis'" in line
    assert "gangnam" in line
    assert "single" in line


def test_unwritable_output(tmp_path: Path) -> None:
    config = copy_single(tmp_path)
    (tmp_path / "file").write_text("not a folder\n")
    # Below a regular file nothing can be made, not even by root.
    line = refused(tmp_path, 6, "simulate", config.name, "-c", "shipped", "-o", "file/below/out")
    assert "file/below/out" in line
    assert "--out" in line
    line = refused(tmp_path, 6, "simulate", config.name, "-c", "shipped", "-o", "file")
    assert "file:" in line


def test_results_of_an_earlier_run_survive_a_failed_one(tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=60)
    topis("simulate", config.name, "-c", "shipped", "-o", "out", "--no-report", cwd=tmp_path)
    unknown_edge_in_route(tmp_path)
    refused(tmp_path, 4, "simulate", config.name, "-c", "shipped", "-o", "out")


@pytest.mark.parametrize("what", ["missing", "empty", "half"])
def test_verify_refuses_what_is_no_run_folder(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if what != "missing":
        folder.mkdir()
    if what == "half":
        (folder / "manifest.json").write_text("{}\n")
    line = refused(tmp_path, 3, "verify", "run")
    assert "run" in line
    assert "run folder" in line


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_error_stands_alone_on_a_terminal(tmp_path: Path) -> None:
    """The progress bar is drawn on a terminal, and the error gets a line of its own after it."""
    config = copy_single(tmp_path)
    unknown_edge_in_route(tmp_path)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [topis_command(), "simulate", config.name, "-c", "shipped", "-o", "out"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "400"},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert process.wait(timeout=LIMIT_S) == 4
    lines = text.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    assert "Simulating" in lines[0]
    assert lines[-1].startswith("Error: ")
    assert sum("Error" in line for line in lines) == 1
