"""Settings: where they come from, which wins, and what is said of wrong ones."""

from pathlib import Path

import pytest

from hearth.cli.models.service_names import clip_settings
from hearth.environment import CLIENT_NAMES, SEED_NAMES
from hearth.errors import SettingsError
from hearth.settings import Settings, describe, load


def settings(flags=None, environment=None, config=Path("/dev/null")):
    return load(flags, environment=environment or {}, config=config)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "hearth.toml"
    file.write_text('port = 1\nbatch_size = 1\nlog_level = "debug"\n[clip]\nbackend = "torch"\n')
    got = settings({"port": 3}, {"HEARTH_PORT": "2", "HEARTH_BATCH_SIZE": "2"}, file)
    assert (got.port, got.batch_size, got.log_level, got.clip.backend) == (3, 2, "debug", "torch")


def test_flags_that_are_not_given_change_nothing():
    assert settings({"port": None, "clip.backend": None}).port == 50051


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("BATCH_SIZE", "16", "batch_size", 16),
        ("ADVERTISE_IP", "192.168.1.5", "mdns.advertise_ip", "192.168.1.5"),
        ("CLIP_BACKEND", "torch", "clip.backend", "torch"),
        ("CLIP_BACKEND", "rknn", "clip.backend", "rknn"),
        ("CLIP_DEVICE", "cuda:1", "clip.device", "cuda:1"),
        ("CLIP_MAX_BATCH_SIZE", "4", "clip.max_batch_size", 4),
        ("CLIP_ONNX_IMAGE", "a.onnx", "clip.onnx_image", Path("a.onnx")),
        ("CLIP_ONNX_TEXT", "b.onnx", "clip.onnx_text", Path("b.onnx")),
        ("CLIP_ORT_PROVIDERS", "A, B", "clip.ort_providers", ("A", "B")),
        ("CLIP_RKNN_MODEL", "m.rknn", "clip.rknn_model", Path("m.rknn")),
        ("CLIP_RKNN_TARGET", "rk3566", "clip.rknn_target", "rk3566"),
        ("BIOCLIP_BACKEND", "torch", "bioclip.backend", "torch"),
        ("BIOCLIP_DEVICE", "cuda:1", "bioclip.device", "cuda:1"),
        ("BIOCLIP_MAX_BATCH_SIZE", "4", "bioclip.max_batch_size", 4),
        ("BIOCLIP_ONNX_IMAGE", "a.onnx", "bioclip.onnx_image", Path("a.onnx")),
        ("BIOCLIP_ONNX_TEXT", "b.onnx", "bioclip.onnx_text", Path("b.onnx")),
        ("BIOCLIP_ORT_PROVIDERS", "A, B", "bioclip.ort_providers", ("A", "B")),
        ("BIOCLIP_RKNN_MODEL", "m.rknn", "bioclip.rknn_model", Path("m.rknn")),
        ("BIOCLIP_RKNN_TARGET", "rk3566", "bioclip.rknn_target", "rk3566"),
        ("CLIP_MDNS_TYPE", "_x._tcp.local.", "mdns.type", "_x._tcp.local."),
        ("CLIP_MDNS_NAME", "den", "mdns.name", "den"),
        ("CLIP_MDNS_UUID", "u", "mdns.uuid", "u"),
        ("CLIP_MDNS_STATUS", "s", "mdns.status", "s"),
        ("CLIP_MDNS_VERSION", "9", "mdns.version", "9"),
    ],
)
def test_the_seeds_names_are_understood(name, text, path, value):
    got = settings(environment={name: text})
    for part in path.split("."):
        got = getattr(got, part)
    assert got == value
    assert SEED_NAMES[name] == path


@pytest.mark.parametrize("service", ["bioclip", "siglip"])
def test_a_model_of_clips_family_falls_back_to_clips_engine(service):
    environment = {"CLIP_BACKEND": "torch", "CLIP_DEVICE": "cuda:1", "CLIP_MAX_BATCH_SIZE": "4",
                   "CLIP_ORT_PROVIDERS": "A,B", "CLIP_ONNX_IMAGE": "clip.onnx"}  # fmt: skip
    chosen = clip_settings(settings(environment=environment), service)
    assert (chosen.backend, chosen.device, chosen.max_batch_size) == ("torch", "cuda:1", 4)
    assert chosen.ort_providers == ("A", "B")


@pytest.mark.parametrize("service", ["bioclip", "siglip"])
def test_a_model_of_clips_family_never_takes_clips_files(service):
    environment = {"CLIP_ONNX_IMAGE": "a.onnx", "CLIP_ONNX_TEXT": "b.onnx",
                   "CLIP_RKNN_MODEL": "c.rknn", "HEARTH_CLIP__MODEL": "org/x",
                   "HEARTH_CLIP__LABELS": "l.txt"}  # fmt: skip
    chosen = clip_settings(settings(environment=environment), service)
    assert (chosen.onnx_image, chosen.onnx_text, chosen.rknn_model) == (None, None, None)
    assert chosen.model != "org/x"
    assert chosen.labels is None


def test_bioclips_own_settings_win_over_clips():
    environment = {"CLIP_BACKEND": "torch", "BIOCLIP_BACKEND": "onnxrt", "CLIP_DEVICE": "cuda"}
    chosen = clip_settings(settings(environment=environment), "bioclip")
    assert (chosen.backend, chosen.device) == ("onnxrt", "cuda")


def test_lists_of_files_come_from_the_environment_too():
    got = settings(environment={"HEARTH_MEDIAPIPE__BUNDLES": "hand.task, my/pose.task"})
    assert got.mediapipe.bundles == (Path("hand.task"), Path("my/pose.task"))
    assert settings().mediapipe.bundles == ()


def test_other_services_have_no_model_to_choose():
    assert clip_settings(settings(), "ocr") is None


def test_our_own_name_wins_over_the_seeds():
    environment = {"CLIP_BACKEND": "torch", "HEARTH_CLIP__BACKEND": "onnxrt"}
    assert settings(environment=environment).clip.backend == "onnxrt"


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "words"),
    [
        ({"port": "x"}, {}, "", ["port", "'x'", "the command line"]),
        ({"clip.colour": "red"}, {}, "", ["clip.colour", "the command line"]),
        ({}, {"HEARTH_PORT": "x"}, "", ["port", "'x'", "HEARTH_PORT"]),
        ({}, {"HEARTH_CLIP__BACKEND": "x"}, "", ["clip.backend", "HEARTH_CLIP__BACKEND"]),
        ({}, {"CLIP_MAX_BATCH_SIZE": "0"}, "", ["clip.max_batch_size", "CLIP_MAX_BATCH_SIZE"]),
        ({}, {}, "colour = 1", ["colour", "hearth.toml"]),
        ({}, {}, "[clip]\nbackend = 3", ["clip.backend", "hearth.toml"]),
        ({}, {}, "clip = 3", ["clip"]),
        ({}, {}, "= 3", ["TOML"]),
        ({"clip": "x"}, {}, "[clip]\nbackend = 'torch'", ["clip"]),
        ({"port.x": "1"}, {}, "port = 1", ["port"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_its_origin(
    tmp_path, flags, environment, toml, words
):
    file = tmp_path / "hearth.toml"
    file.write_text(toml)
    with pytest.raises(SettingsError) as caught:
        settings(flags, environment, file)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_file_may_have_a_byte_order_mark(tmp_path):
    (tmp_path / "hearth.toml").write_bytes(b"\xef\xbb\xbfport = 1\r\n")
    assert settings(config=tmp_path / "hearth.toml").port == 1


def test_a_named_file_must_exist():
    with pytest.raises(SettingsError, match="no-such"):
        settings(config=Path("no-such.toml"))


def test_every_setting_has_a_name_for_the_environment_and_a_meaning():
    rows = list(describe())
    assert len({path for path, *_ in rows}) == len(rows) > 25
    for path, names, default, meaning in rows:
        assert meaning
        if default:
            settings(environment={names.partition(",")[0]: default})
        assert names.startswith("HEARTH_" + path.upper().replace(".", "__"))


def kubernetes(service: str, port: int = 50051) -> dict[str, str]:
    """What a kubelet puts into every container of a service's namespace."""
    name = service.upper().replace("-", "_")
    at = f"{name}_PORT_{port}_TCP"
    return {
        f"{name}_SERVICE_HOST": "10.0.0.1", f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_GRPC": str(port), f"{name}_PORT": f"tcp://10.0.0.1:{port}",
        at: f"tcp://10.0.0.1:{port}", f"{at}_PROTO": "tcp", f"{at}_PORT": str(port),
        f"{at}_ADDR": "10.0.0.1",
    }  # fmt: skip


def docker(alias: str) -> dict[str, str]:
    """What ``docker run --link`` adds of a container."""
    name = alias.upper().replace("-", "_")
    ports = {f"{name}_PORT_50051_TCP_START": "tcp://172.17.0.5:50051",
             f"{name}_PORT_50051_UDP_END": "udp://172.17.0.5:50060"}  # fmt: skip
    own = {f"{name}_NAME": f"/web/{alias}", f"{name}_ENV_PORT": "1", f"{name}_ENV_PATH": "/bin"}
    return kubernetes(alias) | ports | own


SERVICES = ("hearth", "hearth-metrics", "hearth-clip", "hearth-service", "hearth-mdns", "clip",
            "bioclip", "clip-mdns", "batch-size", "advertise-ip")  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("made_by", [kubernetes, docker])
def test_links_to_services_are_no_settings(made_by, service):
    said: list[str] = []
    got = load(environment=made_by(service), config=Path("/dev/null"), warn=said.append)
    assert (got, said) == (Settings(), [])


def test_variables_without_a_value_are_not_set():
    environment = {
        "HEARTH_PORT": "",
        "HEARTH_DATA_DIR": "",
        "HEARTH_SERVICES": "",
        "BATCH_SIZE": "",
    }
    assert settings(environment=environment) == settings()


def test_settings_beside_links_count():
    environment = kubernetes("hearth-metrics") | kubernetes("clip") | {
        "HEARTH_PORT": "7", "CLIP_BACKEND": "torch", "CLIP_MDNS_NAME": "attic",
    }  # fmt: skip
    got = settings(environment=environment)
    assert (got.port, got.metrics_port, got.clip.backend) == (7, None, "torch")
    assert got.mdns.name == "attic"


@pytest.mark.parametrize("name", CLIENT_NAMES)
def test_what_the_client_reads_is_no_setting(name):
    said: list[str] = []
    load(environment={name: "10.0.0.7"}, config=Path("/dev/null"), warn=said.append)
    assert not said


def test_unknown_variables_are_one_warning_with_the_nearest_setting():
    said: list[str] = []
    environment = {
        "HEARTH_CLIP_BACKEND": "torch", "HEARTH_NODS": "a", "HEARTH_PROT": "1",
        "HEARTH_ZYX": "", "HEARTH_CLIP": "x", "HEARTHSTONE": "1", "hearth_port": "2",
    }  # fmt: skip
    got = load(environment=environment, config=Path("/dev/null"), warn=said.append)
    assert got == Settings()
    [line] = said
    assert "\n" not in line
    for name, nearest in [
        ("HEARTH_CLIP_BACKEND", "HEARTH_CLIP__BACKEND"),
        ("HEARTH_NODS", "HEARTH_NODES"),
        ("HEARTH_PROT", "HEARTH_PORT"),
    ]:
        assert f"{name} (did you mean {nearest}?)" in line
    assert "HEARTH_ZYX," in line
    assert "HEARTHSTONE" not in line
    assert "hearth_port" not in line
