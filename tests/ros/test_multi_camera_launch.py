"""multi_camera.launch.py on recording stand-ins: topics and parameters of the cameras of a file."""

from pathlib import Path

import launch_stand_ins as stand_ins
import pytest

from lsabinet_ros.parameters import BY_NAME, SETTINGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, tmp_path):
    stand_ins.install(monkeypatch)
    launch_file = stand_ins.load(ROOT / "launch" / "multi_camera.launch.py")

    def launch(text, **arguments):
        path = tmp_path / "cameras.yaml"
        path.write_text(text)
        entities, _ = stand_ins.launch(
            launch_file.generate_launch_description(), **{"cameras_file": str(path), **arguments}
        )
        (node,) = (entity for entity in entities if isinstance(entity, stand_ins.LifecycleNode))
        values = node.parameters[-1]
        return node, {name: getattr(value, "value", value) for name, value in values.items()}

    return launch


def test_cameras_have_their_topics_and_parameters(run, tmp_path):
    node, parameters = run(
        """
        cameras:
          front: {topic: /cam0/image, max_rate_hz: 15, region_of_interest: "0,160,1280,560"}
          rear: {topic: cam1/image, compressed: true, significant_bits: 12, body_mask: masks/rear.png}
        """,
        weights="lsabinet_synthetic",
    )
    assert parameters == {
        "use_sim_time": False,
        "weights": "lsabinet_synthetic",
        "cameras": ["front", "rear"],
        "front.max_rate_hz": 15.0,
        "front.region_of_interest": "0,160,1280,560",
        "rear.compressed": True,
        "rear.significant_bits": 12,
        "rear.body_mask": str(tmp_path / "masks" / "rear.png"),
    }
    for name, value in parameters.items():
        if "." in name:
            setting = BY_NAME[name.partition(".")[2]]
            assert type(value) is type(setting.default)
            assert setting.problem(value) is None
    assert node.remappings == [
        ("~/front/input/image", "/cam0/image"),
        ("~/front/input/image/compressed", "/cam0/image/compressed"),
        ("~/rear/input/image", "cam1/image"),
        ("~/rear/input/image/compressed", "cam1/image/compressed"),
    ]


def test_every_parameter_of_a_camera_can_be_set(run):
    per_camera = {setting.name: setting.default for setting in SETTINGS if setting.per_camera}
    _, parameters = run(
        f"cameras: {{front: {{topic: /image, {', '.join(f'{n}: {_yaml(v)}' for n, v in per_camera.items())}}}}}"
    )
    assert {f"front.{name}" for name in per_camera} <= set(parameters)


def _yaml(value):
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def test_the_example_is_valid(run):
    _, parameters = run((ROOT / "config" / "cameras.yaml").read_text())
    assert parameters["cameras"] == ["front", "rear"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[front, rear]", ["key cameras"]),
        ("cameras: {}", ["key cameras"]),
        ("cameras: {front: {topic: /a}}\nweights: x", ["key cameras"]),
        ("cameras: {front: /image}", ["topic for camera front"]),
        ("cameras: {a/b: {topic: /image}}", ["a/b"]),
        ("cameras: {front: {topic: /a, rate: 5}}", ["'rate'", "max_rate_hz"]),
        ("cameras: {front: {topic: /a, max_rate_hz: fast}}", ["max_rate_hz of camera front", "'fast'"]),
        ("cameras: {front: {topic: /a, significant_bits: true}}", ["significant_bits of camera front"]),
        ("cameras: {front: ", ["cannot be read"]),
    ],
)
def test_a_wrong_file_is_named(run, text, words):
    with pytest.raises(RuntimeError) as error:
        run(text)
    message = str(error.value)
    assert message.startswith("cameras_file: ")
    assert "cameras.yaml" in message
    assert [word for word in words if word not in message] == []


def test_the_file_takes_the_place_of_the_argument_cameras(run):
    with pytest.raises(RuntimeError, match=r"^cameras_file: .* cameras"):
        run("cameras: {front: {topic: /a}}", cameras="front")
    with pytest.raises(RuntimeError, match="cannot be read"):
        run("", cameras_file="/nowhere/cameras.yaml")


def test_the_file_is_required(run):
    with pytest.raises(RuntimeError, match="cameras_file"):
        run("", cameras_file=None)
