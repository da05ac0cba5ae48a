"""What Prometheus reads: a real file of a real kit, judged by Prometheus' own promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kit import Kit, drive, kits

from ailasd import metrics
from ailasd.status import Count, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RULES = Path(__file__).parents[1] / "ailasd/metrics/ailasd.alerts.yml"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    with kits(tmp_path) as make:
        yield make


@pytest.fixture
def promtool() -> str:
    if (found := shutil.which("promtool")) is None:
        pytest.skip("promtool is missing: sudo apt-get install prometheus")
    return found


def measured(kit: Kit) -> dict[str, float]:
    assert kit.parts.metrics is not None
    kit.parts.metrics.run(threading.Event())
    lines = (kit.tmp / "ailasd.prom").read_text().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_promtool_finds_nothing_wrong(make: Callable[..., Kit], promtool: str):
    """Names, helps and types of a kit that has everything are as Prometheus wants them, hostile words included."""
    kit = make(entries=drive(12, speed_kmh=0, every_s=20))
    kit.restart(metrics={"file": kit.tmp / "ailasd.prom"}, upload={"per_day": "500MB", "per_month": "2GB"})
    kit.drain()
    now = standing(kit.config(), kit.parts.catalogue, kit.parts.storage)
    evil = Count("refused", 'a"b\\c\nd', 1, 2)
    text = metrics.as_text(replace(now, counts=(*now.counts, evil)), reserve=1, clock_trusted=True)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert text.count("# HELP") == len(set(re.findall(r"^(ailasd_\w+)", text, re.MULTILINE)))


def test_what_is_measured(make: Callable[..., Kit]):
    """Counts, bytes, link and clock are those of the status, before and after sending."""
    kit = make()
    kit.restart(metrics={"file": kit.tmp / "ailasd.prom"})
    kit.bring_in()
    before = measured(kit)
    assert before['ailasd_pictures{state="queued",reason=""}'] == 3
    assert before["ailasd_queue_bytes"] == sum(len(data) for _, data, _ in kit.entries)
    assert before["ailasd_queue_oldest_timestamp_seconds"] < before["ailasd_written_timestamp_seconds"]
    assert "ailasd_link_up" not in before
    kit.drain()
    after = measured(kit)
    assert after['ailasd_pictures{state="confirmed",reason=""}'] == 3
    assert (after["ailasd_queue_bytes"], after["ailasd_link_up"]) == (0, 1)
    assert after['ailasd_sent_bytes{period="day"}'] > before["ailasd_queue_bytes"]
    assert (after["ailasd_needs"], after["ailasd_faults"], after["ailasd_clock_trusted"]) == (0, 0, 1)


def test_a_file_that_cannot_be_written(make: Callable[..., Kit]):
    """It is told once, whatever the interval, and the file is written as soon as that is possible."""
    kit = make()
    kit.restart(metrics={"file": kit.tmp / "later/ailasd.prom"})
    assert kit.parts.metrics is not None
    for _ in range(3):
        kit.parts.metrics.run(threading.Event())
    assert kit.events().count("step_waits") == 1
    (kit.tmp / "later").mkdir()
    kit.parts.metrics.run(threading.Event())
    assert [path.name for path in (kit.tmp / "later").iterdir()] == ["ailasd.prom"]
    assert (kit.tmp / "later/ailasd.prom").stat().st_mode & 0o777 == 0o644


def test_the_rules_name_metrics_that_there_are(promtool: str):
    """The example alerts are rules that Prometheus takes, over metrics of ours."""
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"\bailasd_\w+", RULES.read_text())) <= metrics.HELP.keys()


ABSENCE = """
rule_files: [{rules}]
evaluation_interval: 1h
tests:
  - interval: 1h
    input_series:
      - {{series: 'ailasd_build_info{{instance="a", kit="kit-07"}}', values: '1x24 _x150'}}
      - {{series: 'ailasd_build_info{{instance="b", kit="kit-08"}}', values: '1x200'}}
    alert_rule_test:
      - {{eval_time: 40h, alertname: AilasdKitAbsent, exp_alerts: []}}
      - eval_time: 120h
        alertname: AilasdKitAbsent
        exp_alerts:
          - exp_labels: {{instance: a, kit: kit-07, severity: warning}}
            exp_annotations: {{summary: "kit-07 has not reported for three days, but did in the last thirty."}}
      - {{eval_time: 120h, alertname: AilasdAbsent, exp_alerts: []}}
"""


def test_a_kit_that_stopped_reporting_is_missed(tmp_path: Path, promtool: str):
    """The alert for absence fires for the kit that is silent, three days later, and for no other."""
    (tmp_path / "test.yml").write_text(ABSENCE.format(rules=RULES))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
