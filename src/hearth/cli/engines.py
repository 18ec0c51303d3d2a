"""What the installed engines can run on, in words."""


def devices(backend: str) -> str:
    """The version of an engine and its devices here; imports the engine."""
    if backend == "onnxrt":
        return _onnx_runtime()
    if backend == "torch":
        return _torch()
    if backend == "litert":
        return _litert()
    return "installed"


def _onnx_runtime() -> str:
    from hearth.backends.onnx import available_providers, import_onnxruntime

    # Azure is no device: it sends the work to that company's cloud.
    names = [name.removesuffix("ExecutionProvider") for name in available_providers()]
    names = [name for name in names if name != "Azure"]
    return f"ONNX Runtime {import_onnxruntime().__version__}: {', '.join(names)}"


def _torch() -> str:
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        # ROCm shows itself as CUDA.
        kind = "rocm" if torch.version.hip else "cuda"
        found += [f"{kind} ({torch.cuda.get_device_name(at)})" for at in _cuda_range()]
    if torch.backends.mps.is_available():
        found.append("mps")
    return f"torch {torch.__version__}: {', '.join(found)}"


def _litert() -> str:
    import ai_edge_litert
    import ai_edge_litert.interpreter  # its library may lack something here

    return f"LiteRT {ai_edge_litert.__version__}: cpu (XNNPACK)"


def _cuda_range() -> range:
    import torch

    return range(torch.cuda.device_count())
