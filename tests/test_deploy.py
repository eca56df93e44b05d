"""What is written for container engines, read as a linter would: no engine may run where it is written.

The rules are those that hadolint, Docker's benchmark (CIS) and Grafana's own importer check, as far as they concern us.
"""

from __future__ import annotations

import itertools
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DASHBOARD: dict[str, Any] = json.loads(
    (DEPLOY / "grafana/dashboards/affetto.json").read_text(encoding="utf-8")
)


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


def last(name: str) -> str:
    return [rest for word, rest in instructions() if word == name][-1]


def test_the_image_runs_without_root_and_tells_its_health() -> None:
    found = instructions()
    stages = [i for i, (word, _) in enumerate(found) if word == "FROM"]
    final = found[stages[-1] :]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last("USER"))
    names = [word for word, _ in final]
    assert names.count("USER") == 1
    assert "RUN" not in names[names.index("USER") :]
    for word in ("HEALTHCHECK", "ENTRYPOINT"):  # without a shell, so that signals arrive
        command = json.loads(re.search(r"\[.*\]$", last(word))[0])
        assert all(isinstance(part, str) for part in command)
    assert last("STOPSIGNAL") == "SIGTERM"


def test_the_image_is_built_from_what_is_named() -> None:
    for word, rest in instructions():
        assert word != "ADD"
        if word == "FROM":
            assert re.match(r"[a-z/]+:\d+\.\d+", rest), f"{rest}: a tag with a version"
        if word == "RUN":
            assert not re.search(r"sudo|curl|wget|apt-get upgrade", rest)
            assert "pip install" not in rest or "--no-cache-dir" in rest
        if word in ("ENV", "ARG"):
            assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD", rest)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, rule) for rule in allowed), source
    assert not any(fnmatch("deploy/secrets/affetto_key", f"{rule}*") for rule in allowed)
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_one_port_everywhere() -> None:
    port = last("EXPOSE")
    assert f"127.0.0.1:{port}/health/ready" in last("HEALTHCHECK")
    assert json.loads(last("ENTRYPOINT"))[-2:] == ["--port", port]
    assert SERVICES["affetto"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"affetto:{port}"]}]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "network_mode", "pid", "cap_add", "devices"}.isdisjoint(service)
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert set(service.get("depends_on", [])) <= set(SERVICES)
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    for mount in service.get("volumes", []):
        source, _, options = mount.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert options.endswith(":ro"), mount
        else:
            assert source in COMPOSE["volumes"]


def test_secrets_are_where_they_are_looked_for() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    used = {
        "affetto": SERVICES["affetto"]["command"][SERVICES["affetto"]["command"].index("--api-key-file") + 1],
        "prometheus": job["authorization"]["credentials_file"],
        "grafana": SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"],
    }
    for name, path in used.items():
        assert path in [f"/run/secrets/{secret}" for secret in SERVICES[name]["secrets"]]
    # Nobody starts it without saying what for, and who answers for it.
    command = " ".join(SERVICES["affetto"]["command"])
    assert re.findall(r"\$\{(\w+):\?", command) == ["AFFETTO_PURPOSE", "AFFETTO_OPERATOR", "AFFETTO_CONTACT"]


def test_the_command_line_has_the_options_that_are_used() -> None:
    serve = pytest.importorskip("affetto.cli.serve")
    known = {f"--{name.replace('_', '-')}" for name in serve.serve.__annotations__}
    given = json.loads(last("ENTRYPOINT")) + SERVICES["affetto"]["command"]
    assert {word for word in given if word.startswith("--")} <= known


def test_the_dashboard_is_laid_out_and_finds_its_source() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/affetto.yaml").read_text())[
        "providers"
    ]
    mounted = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
    for a, b in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_counters_are_shown_as_rates_and_brackets_close() -> None:
    for expression in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression
        for name in re.findall(r"affetto_\w+_(?:total|bucket)", expression):
            assert re.search(rf"(rate|increase)\({name}\b[^)]*\[\d+[mh]\]\)", expression), expression


def test_the_dashboard_shows_what_the_server_counts() -> None:
    metrics = pytest.importorskip("affetto.serving.metrics")
    told = set(re.findall(r"^# HELP (\w+)", metrics.Metrics().text().decode(), re.MULTILINE))
    told |= {f"{name}_bucket" for name in told}
    for path in (ROOT / "src/affetto/serving").glob("*.py"):
        gauges = re.findall(r"watch\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
        told |= {f"affetto_{name}" for name in gauges}
    shown = {name for expression in expressions() for name in re.findall(r"affetto_\w+", expression)}
    assert shown <= told
    codes = re.findall(r'code=~"([^"]*)"', " ".join(expressions()))
    from affetto.errors import CODES

    assert set("|".join(codes).split("|")) <= set(CODES)
