"""The Android app: what is written of a run, and its Kotlin, on a JVM."""

import fcntl
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib
from configparser import ConfigParser
from xml.etree import ElementTree

import keras
import models
import numpy as np
import pytest
import sklearn.datasets
from keras import layers

import tflite_export
from tflite_export import android_project
from tflite_export import metadata

pytestmark = pytest.mark.usefixtures("converts_here")

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "android"
STUBS = ROOT / "tests" / "android_stubs"
APP = android_project.TEMPLATE / "app"
# The version that the Android Gradle plugin of the catalogue brings.
COMPILER = "kotlin-compiler@2.2.10"
LABELS = ("T-shirt/top", "  a = b # c! ", "café \\ naïve", "青", "e")


def classifier(filters):
    inputs = keras.Input((12, 10, 1), name="image")
    x = layers.Conv2D(filters, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(len(LABELS), activation="softmax")(x)
    return models.randomize(keras.Model(inputs, outputs), seed=filters)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    images = np.random.default_rng(0).random((20, 12, 10, 1), "float32")
    metrics = {"tflite": {}, "dense": {"macs": 7200}, "small": {"macs": 1800}}
    said = metadata.Metadata(labels=LABELS)
    for stem, filters in (("dense", 8), ("small", 2)):
        for precision in ("float32", "int8"):
            path = folder / f"{stem}.{precision}.tflite"
            tflite_export.convert(
                classifier(filters), path, precision, images, metadata=said
            )
            metrics["tflite"][path.name] = {"accuracy": 0.9}
    recipe = {
        "name": "Tiny's <run>",
        "precisions": ["float32", "int8"],
        "fit": "pad",
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def copied(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def entries(project):
    lines = (project / android_project.CARD).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_project_is_the_template_with_the_networks(run_folder, tmp_path):
    project = android_project.write(run_folder, tmp_path / "apps" / "tiny")
    files = {p.relative_to(project) for p in project.rglob("*") if p.is_file()}
    template = android_project.TEMPLATE
    expected = {
        p.relative_to(template) for p in template.rglob("*") if p.is_file()
    }
    assets = pathlib.Path(android_project.CARD).parent
    added = {"model.properties", "dense.int8.tflite", "small.int8.tflite"}
    assert files == expected | {assets / name for name in added}
    for name in ("dense.int8.tflite", "small.int8.tflite"):
        written = (project / assets / name).read_bytes()
        assert written == (run_folder / name).read_bytes()
    card = entries(project)
    assert [card[k] for k in ("height", "width", "channels")] == [
        "12",
        "10",
        "1",
    ]
    assert (card["mean"], card["std"], card["labels"]) == ("0.0", "255.0", "5")
    assert card["dense.macs"] == "7200" and card["pruned.macs"] == "1800"
    assert card["pruned.accuracy"] == "0.9" and card["fit"] == "pad"
    assert int(card["pruned.bytes"]) < int(card["dense.bytes"])
    values = ElementTree.parse(project / "app/src/main/res/values/name.xml")
    assert values.find("string").text == "Tiny\\'s <run>"
    assert [p.name for p in (tmp_path / "apps").iterdir()] == ["tiny"]


def test_the_benchmark_of_the_readme_takes_the_networks_of_the_project(
    run_folder, tmp_path
):
    project = android_project.write(run_folder, tmp_path / "app")
    assets = (project / android_project.CARD).parent
    (assets / "small.int8.tflite").rename(assets / "macs50.int8.tflite")
    readme = (project / "README.md").read_text("utf-8")
    (loop,) = re.findall(r"^    for file in .*?^    done$", readme, re.M | re.S)
    done = command("bash", "-c", f'adb() {{ echo "$@"; }}\n{loop}', cwd=project)
    assert re.findall(r"--graph=/data/local/tmp/(\S+)", done.stdout) == [
        "dense.int8.tflite",
        "macs50.int8.tflite",
    ]


def test_precision_is_the_best_common_one_or_the_one_asked_for(
    copied, tmp_path
):
    asked = android_project.write(copied, tmp_path / "a", precision="float32")
    assert entries(asked)["dense.file"] == "dense.float32.tflite"
    (copied / "dense.int8.tflite").unlink()
    best = android_project.write(copied, tmp_path / "b")
    assert entries(best)["precision"] == "float32"
    message = "has float32. Received: precision='int8'"
    with pytest.raises(ValueError, match=message):
        android_project.write(copied, tmp_path / "c", precision="int8")
    (copied / "small.float32.tflite").unlink()
    with pytest.raises(ValueError, match="this run has none"):
        android_project.write(copied, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_force_replaces_projects_only(run_folder, tmp_path):
    out = tmp_path / "app"
    project = android_project.write(run_folder, out)
    with pytest.raises(ValueError, match="exists; use --force"):
        android_project.write(run_folder, out)
    (project / "local.properties").write_text("sdk.dir=/sdk")
    android_project.write(run_folder, out, precision="float32", force=True)
    assert entries(out)["precision"] == "float32"
    assert not (out / "local.properties").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["app"]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "work.txt").write_text("years of it")
    with pytest.raises(ValueError, match="this is something else"):
        android_project.write(run_folder, other, force=True)
    assert [path.name for path in other.iterdir()] == ["work.txt"]


def test_metrics_may_lack_what_the_app_can_do_without(copied, tmp_path):
    (copied / "metrics.json").write_text("{}")
    card = entries(android_project.write(copied, tmp_path / "app"))
    assert not {"dense.macs", "pruned.accuracy"} & set(card)


def no_recipe(run):
    (run / "recipe.json").unlink()


def drop_labels(run):
    metadata.write(run / "small.int8.tflite", metadata.Metadata())


def other_labels(run):
    said = metadata.Metadata(labels=LABELS[::-1])
    metadata.write(run / "small.int8.tflite", said)


def not_an_image(run):
    inputs = keras.Input((30,))
    model = keras.Model(inputs, layers.Dense(5)(inputs))
    tflite_export.convert(model, run / "dense.int8.tflite")


def two_channels(run):
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    tflite_export.convert(model, run / "dense.int8.tflite")


def quantized_io(run):
    path = run / "small.int8.tflite"
    images = np.random.default_rng(0).random((20, 12, 10, 1), "float32")
    tflite_export.convert(classifier(2), path, "int8", images, io="uint8")


@pytest.mark.parametrize(
    "spoil,message",
    [
        (no_recipe, "it has no recipe.json"),
        (drop_labels, r"one label per score .* 0 for outputs \(1, 5\)"),
        (other_labels, "must have the same input, labels and normalisation"),
        (not_an_image, r"The app feeds images.* \(1, 30\)"),
        (quantized_io, "feeds and reads float32.*uint8 to uint8"),
        (two_channels, r"The app feeds images.* \(1, 8, 8, 2\)"),
    ],
)
def test_runs_that_make_no_app(copied, tmp_path, spoil, message):
    spoil(copied)
    with pytest.raises(ValueError, match=message):
        android_project.write(copied, tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_template_is_in_the_package():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["tflite_export"].split()
    package = android_project.TEMPLATE.parent
    packed = {
        path
        for pattern in patterns
        for path in glob.glob(pattern, root_dir=package, recursive=True)
    }
    for path in android_project.TEMPLATE.rglob("*"):
        if path.is_file():
            assert str(path.relative_to(package)) in packed


def resources():
    """type -> names, as Android's R has them."""
    found = {"id": set()}
    for path in sorted((APP / "src/main/res").rglob("*.xml")):
        tree = ElementTree.parse(path)
        kind = path.parent.name.split("-")[0]
        if kind == "values":
            for item in tree.getroot():
                name = item.get("name").replace(".", "_")
                found.setdefault(item.tag, set()).add(name)
        else:
            found.setdefault(kind, set()).add(path.stem)
            found["id"] |= set(re.findall(r"@\+id/(\w+)", path.read_text()))
    return found


def test_resources_and_versions_refer_to_what_exists():
    found = resources()
    sources = [APP / "src/main/AndroidManifest.xml"]
    sources += (APP / "src/main/res").rglob("*.xml")
    for path in sources:
        for kind, name in re.findall(r'"@(\w+)/([\w.]+)"', path.read_text()):
            assert name.replace(".", "_") in found[kind], path
    catalogue = tomllib.loads(
        (android_project.TEMPLATE / "gradle/libs.versions.toml").read_text()
    )
    for entry in [
        *catalogue["libraries"].values(),
        *catalogue["plugins"].values(),
    ]:
        assert entry["version"]["ref"] in catalogue["versions"]
    names = {
        *catalogue["libraries"],
        *(f"plugins.{name}" for name in catalogue["plugins"]),
    }
    script = (APP / "build.gradle.kts").read_text()
    used = set(re.findall(r"\(libs\.([\w.]+)\)", script))
    assert used == {name.replace("-", ".") for name in names}


def test_preprocessing_and_postprocessing_know_no_android():
    for path in (APP / "src/main").rglob("core/*.kt"):
        for imported in re.findall(r"^import (\S+)", path.read_text(), re.M):
            assert imported.startswith(("java.", "kotlin."))


def once(name, make):
    """A folder of the cache, made whole or not at all, by one process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / name).exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                made = pathlib.Path(folder) / "made"
                made.mkdir()
                make(made)
                made.rename(CACHE / name)
    return CACHE / name


def command(*words, cwd=None):
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
    )


def junit():
    """JUnit 4, as Debian has it: installed, or fetched into the cache."""
    folder = pathlib.Path("/usr/share/java")
    if not (folder / "junit4.jar").exists():

        def make(made):
            names = ("junit4", "libhamcrest-java")
            command("apt-get", "download", *names, cwd=made)
            for archive in made.glob("*.deb"):
                command("dpkg-deb", "-x", archive, made)

        folder = once("junit4", make) / "usr/share/java"
    return [folder / "junit4.jar", folder / "hamcrest.jar"]


def resources_as_kotlin():
    """The class R, which the Android build makes."""
    lines = ["package kerasnonconvex.compare", "object R {"]
    for kind, names in resources().items():
        lines.append(f"object {kind} {{")
        lines += (f"const val {name} = {len(name)}" for name in sorted(names))
        lines.append("}")
    return "\n".join([*lines, "}"])


def compiled(compiler, jars):
    """The folder of the classes of the app, the stand-ins and all tests."""
    names = resources_as_kotlin()
    sources = sorted([*(APP / "src").rglob("*.kt"), *STUBS.glob("*.kt")])
    texts = [COMPILER, names, *(path.read_text() for path in sources)]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()

    def make(made):
        (made / "R.kt").write_text(names)
        done = subprocess.run(
            [
                *("java", "-Xmx1g", "-cp", compiler / "kotlin-compiler.jar"),
                "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
                *("-jvm-target", "17", "-Werror"),
                *("-kotlin-home", compiler.parent, "-d", made),
                *("-cp", os.pathsep.join(map(str, jars))),
                *(*sources, made / "R.kt"),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    return once(f"app-{digest[:16]}", make)


@pytest.fixture(scope="module")
def java():
    """Runs a class of the compiled app."""
    for tool in ("java", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"There is no {tool} here.")
    try:
        installed = once(
            COMPILER,
            lambda made: command(
                "npm", "install", "--no-save", "--prefix", made, COMPILER
            ),
        )
        jars = junit()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"The Kotlin compiler or JUnit cannot be had: {error}")
    library = installed / "node_modules" / "kotlin-compiler" / "lib"
    classes = compiled(library, jars)
    path = os.pathsep.join(
        map(str, [classes, library / "kotlin-stdlib.jar", *jars])
    )

    def run_class(name, *arguments):
        return subprocess.run(
            ["java", "-cp", path, name, *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    return run_class


def test_app_compiles_and_its_unit_tests_pass(java):
    files = [*APP.rglob("*Test.kt"), *STUBS.glob("*Test.kt")]
    texts = [path.read_text() for path in files]
    names = [
        f"{re.search(r'^package (.*)', text, re.M)[1]}.{path.stem}"
        for path, text in zip(files, texts, strict=True)
    ]
    done = java("org.junit.runner.JUnitCore", *names)
    assert done.returncode == 0, done.stdout
    count = sum(text.count("@Test") for text in texts)
    assert f"OK ({count} tests)" in done.stdout


def reference(image, height, width, channels, mean, std, invert, fit):
    """The network's input by Keras."""
    rows, columns = image.shape[:2]
    cropped, borders = image, ((0, 0), (0, 0))
    full = height, width
    if fit == "crop":
        if columns * height > rows * width:
            size = rows, rows * width // height
        else:
            size = columns * height // width, columns
        top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
        cropped = image[top : top + size[0], left : left + size[1], :]
    elif fit == "pad":
        scale = min(height / rows, width / columns)
        height, width = round(scale * rows), round(scale * columns)
        left = [full[0] - height, full[1] - width]
        borders = [(one // 2, one - one // 2) for one in left]
    resized = keras.ops.convert_to_numpy(
        keras.ops.image.resize(
            cropped.astype("float32"),
            (height, width),
            interpolation="bilinear",
            antialias=True,
            data_format="channels_last",
        )
    )
    if channels == 1:
        resized = resized @ np.array([[0.299], [0.587], [0.114]])
    if invert:
        resized = 255 - resized
    resized = np.pad(resized, [*borders, (0, 0)])
    return (resized - np.array(mean)) / np.array(std)


@pytest.mark.parametrize(
    "cut,height,width,channels,mean,std,invert,fit",
    [
        (np.s_[:, :], 28, 28, 1, [0], [255], False, "crop"),
        (np.s_[::-1, :200], 28, 28, 1, [72.94], [90.02], True, "crop"),
        (np.s_[:, :], 32, 32, 3, [125, 123, 114], [63, 62, 67], False, "crop"),
        (np.s_[:, 100:350], 33, 20, 3, [127.5] * 3, [127.5] * 3, False, "crop"),
        (np.s_[200:205, 300:307], 24, 28, 3, [0] * 3, [1] * 3, False, "crop"),
        (np.s_[100:128, 50:78], 28, 28, 1, [0], [1], False, "crop"),
        (np.s_[:, :], 24, 28, 3, [9] * 3, [1] * 3, False, "stretch"),
        (np.s_[:, :], 30, 28, 1, [9], [1], True, "pad"),
    ],
    ids=[
        *("grey", "inverted", "rgb", "portrait", "enlarged", "same"),
        *("stretched", "padded"),
    ],
)
def test_preprocessing_equals_keras(
    java,
    run_folder,
    tmp_path,
    cut,
    height,
    width,
    channels,
    mean,
    std,
    invert,
    fit,
):
    image = sklearn.datasets.load_sample_image("china.jpg")[cut]
    card = entries(android_project.write(run_folder, tmp_path / "app"))
    card |= {"height": height, "width": width, "channels": channels}
    card["fit"] = fit
    for key, values in (("mean", mean), ("std", std)):
        card[key] = ",".join(map(str, values))
    lines = "".join(f"{key}={value}\n" for key, value in card.items())
    (tmp_path / "card").write_text(lines, encoding="utf-8")
    red, green, blue = np.moveaxis(image.astype(np.uint32), -1, 0)
    argb = 0xFF000000 | red << 16 | green << 8 | blue
    sides = np.array(image.shape[1::-1], ">u4")
    (tmp_path / "image").write_bytes(
        sides.tobytes() + argb.astype(">u4").tobytes()
    )
    done = java(
        "PreprocessKt",
        tmp_path / "card",
        str(invert).lower(),
        tmp_path / "image",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert tuple(lines[: len(LABELS)]) == LABELS
    found = np.array(lines[len(LABELS) :], "float64")
    expected = reference(image, height, width, channels, mean, std, invert, fit)
    np.testing.assert_allclose(
        found, expected.ravel(), rtol=0, atol=1e-3 / min(std)
    )
