"""The output of ``lsabinet benchmark`` as text and CSV."""

from lsabinet_core.text_table import Table, csv_text, number, wrap

TEXT_COLUMNS = ("model", "backend", "precision", "size")
STAGES = ("preprocess", "postprocess")


def inference_report(figures: dict) -> str:
    """The machine, the rows as a table with the meaning of its columns, and failed measurements."""
    rows = figures["rows"]
    parts = [machine_line(figures["machine"])]
    if rows:
        parts.append(Table(rows, _columns(rows), TEXT_COLUMNS, _explanations(rows, figures["settings"])).text())
    parts += [
        f"not measured: {failure['model']}, {failure['backend']}, {failure['precision']}, {_size(failure['size'])}: "
        f"{failure['reason']}"
        for failure in figures["failures"]
    ]
    return "\n\n".join(parts)


def machine_line(machine: dict) -> str:
    from lsabinet_core.benchmark.hardware import show_device

    versions = machine["versions"]
    engines = [f"{name} {version}" for name, version in versions.items() if name not in ("python", "cuda") and version]
    cores = f"{machine['threads']} threads on {machine['cores']} cores"
    if machine["usable_cores"] != machine["cores"]:
        cores += f" ({machine['usable_cores']} usable)"
    return f"{show_device(machine)}, {cores}; {', '.join(engines)}"


def _columns(rows: list[dict]) -> dict:
    columns = {
        "model": lambda row: row["model"],
        "backend": lambda row: f"auto: {row['chosen'].partition(',')[0]}" if row["chosen"] else row["backend"],
        "precision": lambda row: row["precision"],
        "size": lambda row: _size(row["size"]),
        "batch": lambda row: str(row["batch"]),
        "median": lambda row: number(row["median_ms"], 2),
        "p95": lambda row: number(row["p95_ms"], 2),
        "p99": lambda row: number(row["p99_ms"], 2),
        "CPU": lambda row: number(row["cpu_ms"], 2),
        "fps": lambda row: number(row["fps"], 1),
        "vs eager": lambda row: number(row["speedup"], 2),
        "segment": lambda row: number(row["segment_ms"], 2),
        **{stage[:4]: lambda row, stage=stage: _stage(row, stage) for stage in STAGES},
        "params": lambda row: f"{row['params']:,}",
        "GMACs": lambda row: number(row["gmacs"], 3),
    }
    if any("peak_mb" in row for row in rows):
        columns |= {
            "first frame s": lambda row: number(row.get("first_frame_s"), 2),
            "its CPU s": lambda row: number(row.get("start_cpu_s"), 2),
            "peak MB": lambda row: number(row.get("peak_mb"), 0),
        }
    if all(row["batch"] == 1 for row in rows):
        del columns["batch"]
    return columns


def _explanations(rows: list[dict], settings: dict) -> list[str]:
    frame = _size(settings["frame"]) if settings["frame"] else "the network's size"
    whole = f"frames of {frame}, {'with' if settings['confidence'] else 'without'} confidence"
    notes = [
        f"ms per call, {settings['rounds']} interleaved calls of each after a warm-up. median, p95, p99: the network "
        "alone, from pixels to logits before the last upsampling. CPU: median processor time of that call over all "
        "threads, which depends little on other load. segment: the whole Segmenter, "
        f"{whole}; prep, post: before and after the network. vs eager: median of eager over this one."
    ]
    if any(row["backend"] == "eager" for row in rows):
        notes.append("eager: unmodified PyTorch, fp32, NCHW, from a normalised image to logits of the full size.")
    if any(row["segment_ms"] and row["trained_on"].startswith("none") for row in rows):
        notes.append(
            "Random weights produce masks with many borders between classes, for which post takes longer than for a "
            "trained network."
        )
    if any("peak_mb" in row for row in rows):
        notes.append(
            "first frame: from the start of a program to its first mask, with a warm engine cache; its CPU: processor "
            "time until then; peak MB: main memory of that program."
        )
    notes += [f"auto for {row['model']} at {_size(row['size'])}: {row['chosen']}" for row in rows if row["chosen"]]
    return notes


def inference_csv(rows: list[dict]) -> str:
    """The rows with a column for each stage; sizes as HxW."""
    names = ("preprocess_ms", "inference_ms", "postprocess_ms")
    return csv_text(
        [
            {
                **{key: value for key, value in row.items() if key != "stages"},
                "size": _size(row["size"]),
                **{name: (row["stages"] or {}).get(name) for name in names},
            }
            for row in rows
        ]
    )


def scale_report(figures: dict) -> str:
    """The rows of ``benchmark_scale`` as a table."""
    rows, what = figures["rows"], figures["vary"]
    parts = [machine_line(figures["machine"])]
    if rows:
        first = rows[0]
        fixed = {name: _value(first[name]) for name in ("size", "frame", "batch", "cameras")}
        fixed["threads"] = str(first["threads"] or "all")
        for name in {"size": ("size", "frame"), "batch": ("batch", "cameras")}.get(what, (what,)):
            del fixed[name]
        held = ", ".join(f"{name} {value}" for name, value in fixed.items())
        parts[0] += f"\n{figures['model']}, {figures['backend']}, {figures['precision']}; {held}"
        columns = {
            what: lambda row: _value(row["value"]),
            "network": lambda row: number(row["network_ms"], 2),
            "net p95": lambda row: number(row["network_p95_ms"], 2),
            "net CPU": lambda row: number(row["cpu_ms"], 2),
            "segment": lambda row: number(row["segment_ms"], 2),
            "seg p95": lambda row: number(row["segment_p95_ms"], 2),
            **{stage[:4]: lambda row, stage=stage: _stage(row, stage) for stage in STAGES},
            "fps": lambda row: number(row["fps"], 1),
            "growth": lambda row: number(row["growth"], 2),
        }
        note = (
            f"ms per frame, medians of {figures['rounds']} interleaved calls of each. network: the network alone; net "
            "CPU: its processor time over all threads; segment: the whole Segmenter, prep and post before and after "
            "the network; growth: ms per frame relative to the first line."
        )
        parts.append(Table(rows, columns, (), [note]).text())
    parts += [
        f"not measured: {what} {_value(failure['value'])}: {failure['reason']}" for failure in figures["failures"]
    ]
    return "\n\n".join(parts)


def profile_report(figures: dict) -> str:
    """The result of ``profile_inference``: the roofline, and two tables per profile."""
    roofline = figures["roofline"]
    throughput = ", ".join(f"{value:.0f} GMAC/s in {name}" for name, value in roofline["gmacs_per_s"].items())
    parts = [
        f"{machine_line(figures['machine'])}\n"
        f"measured: {roofline['gb_per_s']:.1f} GB/s of memory bandwidth; matrix products: {throughput}"
    ]
    columns = {
        "ms": lambda row: number(row["ms"], 2),
        "%": lambda row: number(100 * row["share"], 1),
        "operators": lambda row: str(row["operators"]),
        "MB": lambda row: number(row["mbytes"], 1),
        "GMACs": lambda row: number(row["gmacs"], 3),
        "bound": lambda row: number(row["bound_ms"], 2),
    }
    for profile in figures["profiles"]:
        batch = f", batch {profile['batch']}" if profile["batch"] > 1 else ""
        parts.append(
            f"{profile['model']}, {profile['backend']}, {profile['precision']}, {_size(profile['size'])}{batch}: "
            f"{profile['ms']:.2f} ms in all operators"
        )
        for header, key in (("part", "groups"), ("operator", "kinds")):
            parts.append(Table(profile[key], {header: lambda row: row["name"], **columns}, (header,)).text())
    parts.append(
        wrap(
            f"ms: medians of {figures['runs']} runs, each operator's own; counting makes a run longer. MB: what the "
            "operators read and write, parameters included. GMACs: as computed, after the engine's rewrites. bound: ms "
            "at the measured bandwidth or matrix throughput, whichever takes an operator longer; what stays in the "
            "processor's caches may be faster."
        )
    )
    return "\n\n".join(parts)


def _value(value: int | list[int]) -> str:
    return _size(value) if isinstance(value, list) else str(value)


def _stage(row: dict, stage: str) -> str:
    return number((row["stages"] or {}).get(f"{stage}_ms"), 2)


def _size(size: list[int]) -> str:
    return f"{size[0]}x{size[1]}"
