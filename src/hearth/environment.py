"""Names of environment variables that hearth reads, and those with its prefix that are others'.

A process shares its environment: Kubernetes describes every Service of a namespace in it, and a
Docker link every linked container. One called ``hearth`` or ``clip`` has names like our own.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, MutableMapping

PREFIX = "HEARTH_"
"""Prefix of the name of every setting: ``HEARTH_CLIP__BACKEND`` is ``clip.backend``."""

NODES, NODE = "HEARTH_NODES", "HEARTH_NODE"
"""Addresses of nodes for the client, the first of the two that is set counts; no settings."""

CLIENT_NAMES = (NODES, NODE)
"""Names with our prefix that the client reads, and a node passes over."""

SEED_NAMES: Mapping[str, str] = {
    "BATCH_SIZE": "batch_size",
    "ADVERTISE_IP": "mdns.advertise_ip",
    "CLIP_BACKEND": "clip.backend",
    "CLIP_DEVICE": "clip.device",
    "CLIP_MAX_BATCH_SIZE": "clip.max_batch_size",
    "CLIP_ONNX_IMAGE": "clip.onnx_image",
    "CLIP_ONNX_TEXT": "clip.onnx_text",
    "CLIP_ORT_PROVIDERS": "clip.ort_providers",
    "CLIP_RKNN_MODEL": "clip.rknn_model",
    "CLIP_RKNN_TARGET": "clip.rknn_target",
    "BIOCLIP_BACKEND": "bioclip.backend",
    "BIOCLIP_DEVICE": "bioclip.device",
    "BIOCLIP_MAX_BATCH_SIZE": "bioclip.max_batch_size",
    "BIOCLIP_ONNX_IMAGE": "bioclip.onnx_image",
    "BIOCLIP_ONNX_TEXT": "bioclip.onnx_text",
    "BIOCLIP_ORT_PROVIDERS": "bioclip.ort_providers",
    "BIOCLIP_RKNN_MODEL": "bioclip.rknn_model",
    "BIOCLIP_RKNN_TARGET": "bioclip.rknn_target",
    "CLIP_MDNS_TYPE": "mdns.type",
    "CLIP_MDNS_NAME": "mdns.name",
    "CLIP_MDNS_UUID": "mdns.uuid",
    "CLIP_MDNS_STATUS": "mdns.status",
    "CLIP_MDNS_VERSION": "mdns.version",
}
"""The environment of the seed's node, and the setting each name means today."""

NO_TELEMETRY: Mapping[str, str] = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Variables that keep ONNX Runtime (on by default since 1.29: a device id in the user's cache, and
an uploader) and huggingface_hub from telling anybody anything."""

_ALIKE = 0.6
"""Likeness (1: equal) of two names without their prefix from which on one may be meant by the
other."""

_LINK_NAMES = re.compile(
    # Kubernetes: HEARTH_SERVICE_HOST, HEARTH_SERVICE_PORT, HEARTH_SERVICE_PORT_GRPC.
    r".+_SERVICE_(HOST|PORT(_\w+)?)"
    # Both: HEARTH_PORT_50051_TCP, HEARTH_PORT_50051_TCP_ADDR, …_PORT, …_PROTO; Docker's …_START.
    r"|.+_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?"
    # Docker: each variable of the linked container.
    r"|.+_ENV_\w+"
)
_LINKS = re.compile(
    # Both: HEARTH_PORT=tcp://10.0.0.1:50051, and HEARTH_METRICS_PORT of a `hearth-metrics`.
    r".+_PORT=(tcp|udp|sctp)://.*"
    # Docker: HEARTH_NAME=/web/hearth, the two containers.
    r"|.+_NAME=/[^/]+/[^/]+"
)
"""Suffixes that only the value tells apart: settings have such names as well."""


def switch_off_telemetry(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let no library tell anybody anything, whatever the environment says.

    To be called before they are imported: that is when they look.
    """
    environment.update(NO_TELEMETRY)


def leave_forks_alone(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let gRPC do nothing in a forked child, unless the environment says otherwise.

    It would start its threads anew there, and of 40 children 13 crashed by them (grpcio 1.85): a
    client that was opened before the fork could not even say so. To be called before gRPC is
    imported: that is when it looks.
    """
    environment.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def setting_name(path: str) -> str:
    """Name the variable of a setting: ``HEARTH_CLIP__BACKEND`` for ``clip.backend``."""
    return PREFIX + path.upper().replace(".", "__")


def is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes or Docker has made the variable, of a service or a linked container.

    Kubernetes' are in its documentation's "Discovering services", Docker's in "Legacy container
    links".
    """
    return bool(_LINK_NAMES.fullmatch(name) or _LINKS.fullmatch(f"{name}={value}"))


def unknown_names_warning(unknown: Iterable[str], known: Iterable[str]) -> str:
    """Word a warning in one line about variables with our prefix that mean nothing, each with a
    name like it.
    """
    settings = {name.removeprefix(PREFIX): name for name in known}
    parts = []
    for name in unknown:
        stem = name.removeprefix(PREFIX).upper()
        like = difflib.get_close_matches(stem, settings, n=1, cutoff=_ALIKE)
        parts.append(f"{name} (did you mean {settings[like[0]]}?)" if like else name)
    listed = ", ".join(parts)
    return f"no setting has this name, so it is passed over: {listed}; the README lists them all"
