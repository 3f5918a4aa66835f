"""What ``lsabinet benchmark`` prints and writes for spreadsheets."""

import csv
import io

from lsabinet_core.cli.table import format_table

TEXT_COLUMNS = ("model", "backend", "precision", "size")


def inference_report(figures: dict) -> str:
    """The rows as a table, with the machine above and what the columns mean below; then what was not measured."""
    rows, settings = figures["rows"], figures["settings"]
    lines = [machine_line(figures["machine"]), ""]
    if rows:
        header, cells = _inference_cells(rows)
        lines += [format_table(header, cells, right=[name for name in header if name not in TEXT_COLUMNS]), ""]
        lines += _explanations(rows, settings)
    for failure in figures["failures"]:
        what = f"{failure['model']}, {failure['backend']}, {failure['precision']}, {_size(failure['size'])}"
        lines.append(f"not measured: {what}: {failure['reason']}")
    return "\n".join(lines)


def machine_line(machine: dict) -> str:
    from lsabinet_core.benchmark.hardware import show_device

    versions = machine["versions"]
    engines = [f"{name} {version}" for name, version in versions.items() if name not in ("python", "cuda") and version]
    cores = f"{machine['threads']} threads on {machine['cores']} cores"
    if machine["usable_cores"] != machine["cores"]:
        cores += f" ({machine['usable_cores']} usable)"
    return f"{show_device(machine)}, {cores}; {', '.join(engines)}"


def _inference_cells(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    columns = {
        "model": lambda row: row["model"],
        "backend": _backend,
        "precision": lambda row: row["precision"],
        "size": lambda row: _size(row["size"]),
        "batch": lambda row: str(row["batch"]),
        "median": lambda row: f"{row['median_ms']:.2f}",
        "p95": lambda row: f"{row['p95_ms']:.2f}",
        "p99": lambda row: f"{row['p99_ms']:.2f}",
        "CPU": lambda row: f"{row['cpu_ms']:.2f}",
        "fps": lambda row: f"{row['fps']:.1f}",
        "vs eager": lambda row: _number(row["speedup"], 2),
        "segment": lambda row: _number(row["segment_ms"], 2),
        **{stage[:4]: lambda row, stage=stage: _stage(row, stage) for stage in ("preprocess", "postprocess")},
        "params": lambda row: f"{row['params']:,}",
        "GMACs": lambda row: f"{row['gmacs']:.3f}",
    }
    if any("peak_mb" in row for row in rows):
        columns |= {
            "first frame s": lambda row: _number(row.get("first_frame_s"), 2),
            "its CPU s": lambda row: _number(row.get("start_cpu_s"), 2),
            "peak MB": lambda row: _number(row.get("peak_mb"), 0),
        }
    if all(row["batch"] == 1 for row in rows):
        del columns["batch"]
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]


def _explanations(rows: list[dict], settings: dict) -> list[str]:
    frame = _size(settings["frame"]) if settings["frame"] else "the network's size"
    whole = f"frames of {frame}, {'with' if settings['confidence'] else 'without'} confidence"
    lines = [
        f"ms per call, {settings['rounds']} interleaved turns of each after a warm-up. median, p95, p99: the network "
        "alone, from pixels to logits before the last upsampling.",
        "CPU: processor time of that call over all threads, median; unlike the others it hardly grows when other "
        "programs want the cores.",
        f"segment: the whole Segmenter, {whole}; prep, post: before and after the network. vs eager: its median over "
        "this one.",
    ]
    if any(row["backend"] == "eager" for row in rows):
        lines.append("eager: PyTorch as is, fp32, NCHW, from a normalised image to logits of the full size.")
    if any(row["segment_ms"] and row["trained_on"].startswith("none") for row in rows):
        lines.append(
            "Random weights give masks full of borders between classes, on which post takes longer than on a trained "
            "network's."
        )
    if any("peak_mb" in row for row in rows):
        lines.append(
            "first frame: from the start of a program to its first mask, engine cache warm; its CPU: processor time "
            "until then; peak MB: main memory of that program."
        )
    for row in rows:
        if row["chosen"]:
            lines.append(f"auto for {row['model']} at {_size(row['size'])}: {row['chosen']}")
    return [*lines, ""]


def inference_csv(rows: list[dict]) -> str:
    """The rows with a column for each stage; sizes as HxW."""
    flat = []
    for row in rows:
        stages = row["stages"] or {}
        plain = {key: value for key, value in row.items() if key != "stages"}
        names = ("preprocess_ms", "inference_ms", "postprocess_ms")
        flat.append({**plain, "size": _size(row["size"]), **{name: stages.get(name) for name in names}})
    return _csv(flat)


def scale_report(figures: dict) -> str:
    """The rows of ``benchmark_scale`` as a table."""
    rows, what = figures["rows"], figures["vary"]
    lines = [machine_line(figures["machine"])]
    if rows:
        first = rows[0]
        fixed = {
            "size": _size(first["size"]),
            "frame": _size(first["frame"]),
            "batch": str(first["batch"]),
            "cameras": str(first["cameras"]),
            "threads": str(first["threads"] or "all"),
        }
        for name in {"size": ("size", "frame"), "batch": ("batch", "cameras")}.get(what, (what,)):
            del fixed[name]
        held = ", ".join(f"{name} {value}" for name, value in fixed.items())
        lines += [f"{figures['model']}, {figures['backend']}, {figures['precision']}; {held}", ""]
        header = [what, "network", "net p95", "net CPU", "segment", "seg p95", "prep", "post", "fps", "growth"]
        cells = [
            [
                show_value(row["value"]),
                f"{row['network_ms']:.2f}",
                f"{row['network_p95_ms']:.2f}",
                f"{row['cpu_ms']:.2f}",
                _number(row["segment_ms"], 2),
                _number(row["segment_p95_ms"], 2),
                *(_stage(row, stage) for stage in ("preprocess", "postprocess")),
                f"{row['fps']:.1f}",
                f"{row['growth']:.2f}",
            ]
            for row in rows
        ]
        lines += [
            format_table(header, cells, right=header),
            "",
            f"ms per frame, medians of {figures['rounds']} interleaved turns of each. network: alone; net CPU: its "
            "processor time over all threads; segment: the whole Segmenter, prep and post what it does before and "
            "after the network; growth: ms per frame over the first line's.",
        ]
    for failure in figures["failures"]:
        lines.append(f"not measured: {what} {show_value(failure['value'])}: {failure['reason']}")
    return "\n".join(lines)


def show_value(value: int | list[int]) -> str:
    return _size(value) if isinstance(value, list) else str(value)


def _backend(row: dict) -> str:
    return f"auto: {row['chosen'].partition(',')[0]}" if row["chosen"] else row["backend"]


def _stage(row: dict, stage: str) -> str:
    return _number((row["stages"] or {}).get(f"{stage}_ms"), 2)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _size(size: list[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
