"""The figures of ``lsabinet benchmark node`` as text."""

from lsabinet_core.cli.benchmark_report import machine_line
from lsabinet_core.text_table import Table, number


def as_text(figures: dict) -> str:
    """The machine, a table of the sizes and one of the cameras."""
    rows, cameras, settings = figures["rows"], figures["cameras"], figures["settings"]
    columns = {
        "size": lambda row: "x".join(map(str, row["size"])),
        "engine": lambda row: f"{row['backend']} {row['precision']}",
        "masks": lambda row: f"{row['answered']}/{row['sent']}",
        "segment": lambda row: number(row["segmenter_ms"], 1),
        "total": lambda row: number(row["total_ms"], 1),
        "overhead": lambda row: number(row["overhead_ms"], 1),
        "p99": lambda row: number(row["overhead_p99_ms"], 1),
        "wait": lambda row: number(row["wait_ms"], 1),
        "decode": lambda row: number(row["decode_ms"], 1),
        "publish": lambda row: number(row["publish_ms"], 1),
        "beside PNG": lambda row: number(row["overhead_beside_compressed_ms"], 1),
        "PNG after": lambda row: number(row["compressed_after_raw_ms"], 1),
        "idle": lambda row: f"{100 * row['idle_cores']:.1f} %",
    }
    notes = [
        f"ms, medians; bgr8 at {settings['rate_hz']} Hz. segment: the Segmenter alone; total: from the camera's "
        "publication to the callback of the mask; overhead: the difference; wait, decode, publish: parts of it, the "
        "rest is transport; wait is long if the network takes longer than a period; beside PNG: overhead while the "
        "compressed mask is subscribed to as well; PNG after: how much later than the mask it arrives; idle: share of "
        "a core without images."
    ]
    camera_columns = {
        "camera": lambda row: row["camera"],
        "sent": lambda row: str(row["sent"]),
        "masks": lambda row: str(row["answered"]),
        "masks/s": lambda row: number(row["masks_per_s"], 2),
    }
    size = "x".join(map(str, rows[0]["size"]))
    camera_notes = [f"{len(cameras)} cameras of {size} at {settings['camera_rate_hz']} Hz each on one node."]
    return "\n\n".join(
        [
            f"{machine_line(figures['machine'])}; load average at the start {figures['load']:.1f}",
            Table(rows, columns, ("size", "engine"), notes).text(),
            Table(cameras, camera_columns, ("camera",), camera_notes).text(),
        ]
    )
