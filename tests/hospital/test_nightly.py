"""`examples/nightly/`: the units are as tight as they say, and its steps make a night of it."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from screen.readers import Limits
from tests.hospitals import Hospital
from tests.places import ROOT

NIGHTLY = ROOT / "examples" / "nightly"
EXPOSURE = {"fetch": 2.0, "run": 1.0, "dicom": 1.0, "send": 2.0, "keep": 1.0}


def unit(step: str) -> Path:
    return NIGHTLY / ("cxr-screen.service" if step == "run" else f"cxr-screen-{step}.service")


def setting(step: str, name: str) -> list[str]:
    """Everything that the unit sets it to."""
    return [
        word for line in re.findall(rf"^{name}=(.*)$", unit(step).read_text(), re.M) for word in line.split()
    ]


@pytest.mark.parametrize("step", EXPOSURE)
def test_a_unit_is_as_tight_as_promised(step: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    done = subprocess.run(
        [analyze, "security", "--offline=true", str(unit(step))], capture_output=True, text=True
    )
    level = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= EXPOSURE[step]


def test_who_parses_films_has_no_network_and_who_has_one_sees_none_of_the_others() -> None:
    for step in EXPOSURE:
        networked = step in ("fetch", "send")
        assert ("AF_INET" in setting(step, "RestrictAddressFamilies")) is networked
        assert (setting(step, "PrivateNetwork") == ["yes"]) is not networked
        assert bool(setting(step, "LoadCredential")) is networked
    assert setting("send", "InaccessiblePaths") == ["-/var/lib/cxr-screen/films"]
    assert setting("fetch", "InaccessiblePaths") == ["-/var/lib/cxr-screen/nights"]


def test_each_step_starts_the_next_one() -> None:
    assert "cxr-screen.service" in setting("fetch", "OnSuccess")
    assert "cxr-screen-dicom.service" in setting("run", "OnSuccess")
    assert "cxr-screen-send.service" in setting("dicom", "OnSuccess")


@pytest.mark.parametrize("step", ["run", "dicom"])
def test_one_files_limit_does_not_reach_the_services(step: str) -> None:
    (most,) = setting(step, "MemoryMax")
    assert most.endswith("G")
    assert int(most[:-1]) << 30 >= Limits().memory + (2 << 30)


def test_alerts_go_by_metrics_that_are_there() -> None:
    page = (ROOT / "docs" / "hospital.md").read_text()
    written = (ROOT / "screen" / "cli" / "metrics.py").read_text()
    named = set(re.findall(r"cxr_screen_\w+", (NIGHTLY / "alerts.yml").read_text()))
    documented = set(re.findall(r"^\| `(cxr_screen_\w+)", page, re.M))
    assert named <= documented
    assert all(name in written or name.removeprefix("cxr_screen_last_run") in written for name in documented)


class Machine:
    """The steps as the units start them."""

    def __init__(self, hospital: Hospital, folder: Path) -> None:
        self.hospital = hospital
        self.films, self.results = folder / "films", folder / "nights"
        self.readers, self.metrics = folder / "readers", folder / "metrics"
        self._said = folder / "said"
        for made in (self.readers, self.metrics):
            made.mkdir(parents=True)
        command = folder / "command"
        command.write_text(
            "#!/bin/sh\n"
            f'[ "$1" != fetch ] || set -- "$@" --since 1990-01-01\n'
            f'exec {hospital.command("run", "")[0]} -m screen "$@"\n'
        )
        tell = folder / "tell"
        tell.write_text(f'#!/bin/sh\necho "$1 $2" >>"{self._said}"\n')
        for script in (command, tell):
            script.chmod(0o755)
        self._environment = {
            **{"PATH": os.environ["PATH"], "HOME": str(hospital.home), "PYTHONPATH": str(ROOT)},
            **{"CXR_SCREEN": str(command), "CXR_SCREEN_TELL": str(tell)},
            **{"CXR_SCREEN_READERS": str(self.readers), "CXR_SCREEN_METRICS": str(self.metrics)},
        }

    def night(self, fetched: int = 0) -> list[str]:
        """All steps. Returns the levels at which somebody was told. fetched: the exit code of fetch."""
        self._said.unlink(missing_ok=True)
        films = str(self.films)
        for code, *step in (
            (fetched, "fetch", "pacs", films),
            (0, "run", f"{films}/films", str(self.results)),
            (0, "dicom", str(self.results)),
            (0, "send", str(self.results), "pacs"),
            (0, "keep", str(self.results), films),
        ):
            done = subprocess.run(
                [NIGHTLY / "screen-night", *map(str, step)],
                env=self._environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == code, done.stderr
        return [line.split()[0] for line in self._said.read_text().splitlines()]

    def nights(self) -> list[Path]:
        return sorted(path for path in self.results.iterdir() if path.is_dir() and not path.is_symlink())


def test_night_after_night(hospital: Hospital, tmp_path: Path) -> None:
    machine = Machine(hospital, tmp_path / "machine")
    assert machine.night() == ["info"] * 4
    (first,) = machine.nights()
    assert (machine.results / "latest").resolve() == first
    assert not (machine.results / "open").is_symlink()
    objects = hospital.objects()
    assert {ds.Modality for ds in objects.values()} == {"SR", "OT"}
    assert {path.name for path in machine.metrics.iterdir()} == {
        f"cxr-screen-{step}.prom" for step in ("fetch", "run", "send")
    }
    for name in ("report.html", "flagged.csv", "results.csv"):
        given = machine.readers / "latest" / name
        assert given.read_bytes() == (first / name).read_bytes()
        assert given.stat().st_mode & 0o777 == 0o640

    # The archive is down: what is there is screened, and nothing is made or sent again.
    archives = hospital.home / ".config" / "cxr-screen" / "archives.toml"
    reachable = archives.read_text()
    archives.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", reachable))
    time.sleep(1.1)  # nights are named by the second
    assert machine.night(fetched=1)[0] == "alert"
    assert machine.nights() == [first, (machine.results / "latest").resolve()]
    # Who did not read yesterday's page finds it: its cases stand in no other.
    names = sorted(path.name for path in machine.readers.iterdir() if not path.is_symlink())
    assert names == [night.name for night in machine.nights()]
    assert (machine.readers / first.name / "flagged.csv").read_bytes() == (first / "flagged.csv").read_bytes()
    archives.write_text(reachable)

    # What is old goes, the last complete night stays.
    old = first.rename(first.with_name("2020-01-02T030405"))
    given = (machine.readers / first.name).rename(machine.readers / old.name)
    films = list((machine.films / "films").rglob("*.dcm"))
    os.utime(films[0], (0, 0))
    time.sleep(1.1)
    assert "warning" not in machine.night()
    assert not old.exists()
    assert not given.exists()
    assert not films[0].exists()
    assert all(film.exists() for film in films[1:])
    assert hospital.objects().keys() == objects.keys()


def test_a_machine_that_goes_down_as_a_night_ends_loses_no_night(tmp_path: Path) -> None:
    """After each command that ends a night it may; the next start begins a night beside the complete one."""
    results, said = tmp_path / "nights", tmp_path / "said"
    command, tell = tmp_path / "command", tmp_path / "tell"
    command.write_text(
        f'#!/bin/sh\necho "$@" >>"{said}"\nmkdir -p "$4" && touch "$4/ledger.sqlite" "$4/summary.json"\n'
    )
    tell.write_text("#!/bin/sh\n")
    for script in (command, tell):
        script.chmod(0o755)

    def night() -> str:
        time.sleep(1.1)  # nights are named by the second
        done = subprocess.run(
            [NIGHTLY / "screen-night", "run", str(tmp_path), str(results)],
            env={"PATH": os.environ["PATH"], "CXR_SCREEN": str(command), "CXR_SCREEN_TELL": str(tell)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not (results / "open").is_symlink()
        return (results / "latest").readlink().name

    first = night()
    second = night()
    (results / "latest.new").symlink_to(first)
    third = night()
    assert third > second
    assert not (results / "latest.new").is_symlink()
    (results / "open").symlink_to(third)
    assert night() > third
    assert said.read_text().splitlines()[-1].endswith(f"--known {results}/latest/ledger.sqlite")


def test_a_copy_of_a_night_is_left_alone(tmp_path: Path) -> None:
    """Its name is no date: `date` would stop the step, and old films stayed for ever."""
    results, readers, said = tmp_path / "nights", tmp_path / "readers", tmp_path / "said"
    for name in ("2020-01-02T030405", "2020-01-02T030405.bak", "2026-01-02T030405"):
        for folder in (results, readers):
            (folder / name).mkdir(parents=True)
        (results / name / "summary.json").touch()
    (results / "latest").symlink_to("2026-01-02T030405")
    command = tmp_path / "command"
    command.write_text(f'#!/bin/sh\necho "$@" >>"{said}"\n')
    command.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "CXR_SCREEN": str(command), "CXR_SCREEN_TELL": "true"}
    for step in ("dicom", "keep"):
        subprocess.run(
            [NIGHTLY / "screen-night", step, str(results)],
            env=environment | {"CXR_SCREEN_READERS": str(readers)},
            check=True,
        )
    assert [Path(line).name for line in said.read_text().splitlines()] == [
        "2020-01-02T030405",
        "2026-01-02T030405",
    ]
    for folder in (results, readers):
        kept = sorted(path.name for path in folder.iterdir() if not path.is_symlink())
        assert kept == ["2020-01-02T030405.bak", "2026-01-02T030405"]
