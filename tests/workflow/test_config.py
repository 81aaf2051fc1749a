"""The configuration: what is wrong is said in one line that names file, key, found, expected."""

import copy
from pathlib import Path
from typing import get_args

import pytest
import yaml

from autoprune import methods
from autoprune.core.errors import InputError
from autoprune.core.labels import METHODS, differs
from autoprune.measure import formats as exports
from autoprune.pruning.rounding import DIRECTIONS
from autoprune.study.config import (
    check,
    followed,
    methods_of,
    resolve,
    run_settings,
    without_effect,
)
from autoprune.study.grid import Run, read_config, runs_of, start_of, told
from autoprune.study.methods import follows_dense, follows_plan, keeps_scores, settings_of
from autoprune.study.settings import Deploy
from stages import run_stage

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "config.yaml"


def merge(base, overlay):
    """Merge as Snakemake does: mappings by key, everything else replaced."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def loaded(*overlays):
    config = yaml.safe_load(CONFIG.read_text())
    for overlay in overlays:
        merge(config, copy.deepcopy(overlay))
    return config


@pytest.mark.parametrize(
    "name",
    [
        *("config", "ci", "paper", "paper paper-uncropped", "femnist-leaf", "mnist", "controls"),
        *("mnist-writers", "unipen", "unipen geta", "speech", "pareto"),
        "femnist-leaf methods femnist-ablations",
        *("mnist methods", "femnist-leaf methods", "paper methods", "paper methods paper-controls"),
    ],
)
def test_our_own_configurations_are_accepted(name):
    paths = [ROOT / "config" / f"{part}.yaml" for part in name.split()]
    config = loaded(*(yaml.safe_load(path.read_text()) for path in paths))
    check(config, [CONFIG, *paths])
    resolve(config)
    for pair in config["study"]:
        assert set(config["training"]) <= set(config["pairs"][pair])


def test_a_pair_overrides_training_and_nothing_else_does():
    config = loaded({"pairs": {"digits-cnn": {"rounds": 7}}})
    resolve(config)
    assert config["pairs"]["digits-cnn"]["rounds"] == 7
    assert config["pairs"]["glyphs-cnn"]["rounds"] == config["training"]["rounds"]


def test_data_sets_are_standardised_where_they_do_not_say_otherwise():
    config = loaded({"datasets": {"glyphs": {"preprocessing": {"resize": 14}}}})
    config["datasets"]["digits"]["preprocessing"] = {"pixel_range": [-1, 1]}
    config["datasets"]["faces"]["preprocessing"] = {"standardise": False}
    check(config, [CONFIG])
    resolve(config)
    found = {name: config["datasets"][name]["preprocessing"] for name in config["datasets"]}
    assert found["glyphs"] == {"standardise": True, "resize": 14}
    assert found["digits"] == {"pixel_range": [-1, 1]}
    assert found["faces"] == {"standardise": False}


def test_only_the_papers_own_study_leaves_pixels_from_0_to_1():
    raw = []
    for path in sorted((ROOT / "config").glob("*.yaml")):
        overlay = yaml.safe_load(path.read_text())
        config = loaded(overlay)
        resolve(config)
        # the overlay's own, not those of config.yaml beside them
        for name in overlay.get("datasets", {}):
            if not config["datasets"][name]["preprocessing"].get("standardise"):
                raw.append(f"{path.stem} {name}")
    assert raw == [
        *("femnist-ablations femnist_raw", "femnist-ablations femnist_inverted"),
        *("paper femnist", "paper celeba"),
    ]


def test_a_range_beside_standardising_is_refused():
    both = {"pixel_range": [-1, 1], "standardise": True}
    config = loaded({"datasets": {"glyphs": {"preprocessing": both}}})
    refused = r"datasets\.glyphs\.preprocessing: pixel_range -1 1 and standardise exclude"
    with pytest.raises(InputError, match=refused):
        check(config, [CONFIG])


def test_a_named_variant_sets_training_and_method():
    named = {"inherit-low": {"like": "inherit", "tails": "low", "rounds": 7}}
    config = loaded({"variants": {"autoprune": named}})
    resolve(config)
    training, settings = run_settings(config, "digits-cnn", "autoprune", "inherit-low")
    assert training == {**training, "rounds": 7}
    assert settings == {"k": 2.2, "patience": 3, "cap": 50, "tails": "low"}
    assert followed(config, "found-widths", "inherit-low") == "inherit-low"
    assert followed(config, "random-filters", "inherit") == "inherit"
    assert followed(config, "l1-uniform", "iterative") == "reinit"


def test_a_target_takes_the_place_of_the_pairs_k_and_a_k_that_of_its_target():
    variants = {"small": {"like": "inherit", "target_macs": 9e4}, "k3": {"like": "inherit", "k": 3}}
    config = loaded({"variants": {"autoprune": variants}})
    own = run_settings(config, "glyphs-cnn", "autoprune", "small")[1]
    assert (own["target_macs"], "k" in own) == (9e4, False)
    config["pairs"]["glyphs-cnn"]["autoprune"] = {"target_bytes": 9e4, "patience": 3, "cap": 5}
    own = run_settings(config, "glyphs-cnn", "autoprune", "k3")[1]
    assert (own["k"], "target_bytes" in own) == (3, False)
    check(config, [CONFIG])


def test_a_pair_runs_its_own_methods_or_the_studys_and_what_it_adds():
    more = {"autoprune": ["rewind", "reinit"], "fpgm": ["iterative"]}
    own = {"dense": ["fedavg"], "autoprune": ["inherit"]}
    pairs = {"glyphs-cnn": {"more_methods": more}}
    pairs["faces-cnn"] = {"methods": own, "more_methods": more}
    config = loaded({"pairs": pairs})
    resolve(config)
    study = {"dense": ["fedavg"], "autoprune": ["reinit", "inherit"]}
    assert methods_of(config, "faces-resnet") == study
    assert methods_of(config, "glyphs-cnn") == {
        "dense": ["fedavg"],
        "autoprune": ["reinit", "inherit", "rewind"],
        "fpgm": ["iterative"],
    }
    assert methods_of(config, "faces-cnn") == {
        "dense": ["fedavg"],
        "autoprune": ["inherit", "rewind", "reinit"],
        "fpgm": ["iterative"],
    }
    assert config["methods"] == study  # of the other pairs


def test_which_methods_follow_a_plan():
    found = {name for name in METHODS if follows_plan(name)}
    assert found == set(METHODS) - {"dense", "dense-int8", "autoprune", "null-norms"}


def test_which_methods_prune_trained_networks():
    found = {name for name in METHODS if follows_dense(name)}
    assert found == {
        *("l1-uniform", "l1-int8", "fpgm", "taylor", "slimming", "fedmap", "prunefl", "l0-gates")
    }


def test_when_to_prune_is_the_studys_unless_a_pair_says_so():
    config = loaded({"pairs": {"digits-cnn": {"fpgm": {"prune_at": 0.5}}}})
    resolve(config)
    assert run_settings(config, "digits-cnn", "fpgm", "iterative")[1] == {"prune_at": 0.5}
    assert run_settings(config, "faces-resnet", "fpgm", "iterative")[1] == {"prune_at": 0.9}
    for method in ("ssfl", "narrow", "dense"):
        assert run_settings(config, "digits-cnn", method, "any")[1] == {}


def test_what_a_method_has_of_its_own_is_said():
    """Read without torch, it is what the class says; of ours and of the controls it is nothing."""
    said = {name: differs(name) for name in METHODS}
    assert said == {name: methods.load(name).differs for name in METHODS}
    assert {name for name, text in said.items() if text} == {
        *("l1-uniform", "l1-int8", "fpgm", "taylor", "slimming", "fedmap", "prunefl", "ssfl"),
        *("geta", "l0-gates"),
    }


def test_which_methods_networks_can_be_rounded():
    assert {name for name in METHODS if keeps_scores(name)} == {"autoprune", "null-norms"}


def test_the_model_knows_the_directions_and_the_rules_settings_without_torch():
    assert get_args(Deploy.model_fields["round_widths"].annotation) == DIRECTIONS
    assert issubclass(methods.load("autoprune").Settings, settings_of("autoprune"))


@pytest.mark.parametrize("name", exports.EXTRAS)
def test_a_format_whose_packages_are_absent_says_what_to_install(tmp_path, name):
    path = tmp_path / "mine.yaml"
    overlay = {"deploy": {"formats": ["onnx", name]}}
    path.write_text(yaml.safe_dump(overlay))
    extra, packages = exports.EXTRAS[name]
    if exports.lacking(name) is None:
        check(loaded(overlay), [CONFIG, path])
        pytest.skip(f"the packages of {name} are installed: accepted")
    with pytest.raises(InputError) as refusal:
        check(loaded(overlay), [CONFIG, path])
    (package,) = {p for p in packages if f"package {p} is" in str(refusal.value)}
    assert str(refusal.value) == (
        f"{path}: deploy.formats.1: format {name}: package {package} is not installed; "
        f"run `make {extra}`"
    )


NUMBERS = {"task": "regression", "target": "HairLength", "stands_for": "none"}


def aiming(settings):
    """An overlay whose one variant has these settings of the rule, and runs."""
    variants = {"autoprune": {"mine": {"like": "inherit", **settings}}}
    return {
        "variants": variants,
        "pairs": {"digits-cnn": {"more_methods": {"autoprune": ["mine"]}}},
    }


REFUSED = [
    ({"sedes": [1]}, "sedes: unknown key 'sedes'; known are pathvars, backend, seeds"),
    ({"seeds": "1"}, "seeds: found '1', expected a list"),
    (
        {"seeds": [10**30]},
        "seeds.0: found 1000000000000000000000000000000, expected a number below",
    ),
    ({"seeds": [-1]}, "seeds.0: found -1, expected at least 0"),
    (
        {"methods": {"l1-uniform": ["one_shot"]}},
        "methods.l1-uniform.0: found 'one_shot', expected the form ^[a-z0-9][a-z0-9.-]*$",
    ),
    (
        {"methods": {"l1-uniform": ["oneshot"]}},
        "methods.l1-uniform.0: found 'oneshot'; known are one-shot, classical, iterative",
    ),
    ({"methods": {"taylor": ["one-shot\n"]}}, r"methods.taylor.0: found 'one-shot\n', expected"),
    ({"methods": {"autoprune": ["../x"]}}, "methods.autoprune.0: found '../x', expected the form"),
    ({"methods": {"autoprune": [".."]}}, "methods.autoprune.0: found '..', expected the form"),
    ({"seeds": []}, "seeds: found 0 entries, expected 1 or more"),
    ({"study": ["mnist-cnn"]}, "study.0: unknown pair 'mnist-cnn'; known are digits-cnn"),
    ({"controls": {"prune_at": 0}}, "controls.prune_at: found 0, expected a number above 0"),
    ({"training": {"rounds": 0}}, "training.rounds: found 0, expected at least 1"),
    (
        {"training": {"optimizer": {"name": "Muon"}}},
        "training.optimizer: optimizer Muon: takes",
    ),
    (
        {"pairs": {"digits-cnn": {"server": {"strategy": "FedProx"}}}},
        "pairs.digits-cnn.server: strategy FedProx: is FedAvg at the server and a term at the clie",
    ),
    (
        {"variants": {"dense": {"own": {"schedule": {"name": "StepLR"}}}}},
        "variants.dense.own.schedule: StepLR: argument 'step_size' is missing",
    ),
    (
        {"training": {"augmentation": [{"RandomCrops": {}}]}},
        "training.augmentation: unknown transform 'RandomCrops'; known are",
    ),
    (
        {"pairs": {"digits-cnn": {"start": "no/such.pt"}}},
        "pairs.digits-cnn.start: no/such.pt: no such file",
    ),
    ({"training": {"rounds": 2.5}}, "training.rounds: found 2.5, expected a whole number"),
    (
        {"training": {"learning_rate": "1e-4"}},
        "training.learning_rate: found '1e-4', expected a number (YAML wants a dot: 1.0e-04)",
    ),
    ({"training": {"epochs": 3}}, "training.epochs: unknown key 'epochs'; known are rounds"),
    (
        {"pairs": {"glyphs-cnn": {"autoprune": {"k": 0}}}},
        "pairs.glyphs-cnn.autoprune.k: found 0, expected a number above 0",
    ),
    (
        {"pairs": {"glyphs-cnn": {"autoprune": {"k": -1.5}}}},
        "pairs.glyphs-cnn.autoprune.k: found -1.5, expected a number above 0",
    ),
    (
        {"pairs": {"glyphs-cnn": {"autoprune": {"kk": 2}}}},
        "pairs.glyphs-cnn.autoprune.kk: unknown key 'kk'; known are k, patience, cap",
    ),
    (
        {"pairs": {"glyphs-cnn": {"widths": [32, 0]}}},
        "pairs.glyphs-cnn.widths.1: found 0, expected at least 1",
    ),
    (
        {"pairs": {"glyphs-cnn": {"widths": [10**9, 64]}}},
        "pairs.glyphs-cnn.widths.0: found 1000000000, expected at most 65536",
    ),
    (
        {"pairs": {"glyphs-cnn": {"model": "vgg"}}},
        "pairs.glyphs-cnn.model: unknown network 'vgg'; known are cnn, cnn1d, conformer, "
        "inception, resnet",
    ),
    (
        {"pairs": {"glyphs-cnn": {"dataset": "letters"}}},
        "pairs.glyphs-cnn.dataset: unknown data set 'letters'; known are glyphs, faces, digits",
    ),
    (
        {"pairs": {"glyphs-resnet": {"dataset": "digits", "model": "cnn", "widths": [1, 1]}}},
        "pairs.glyphs-resnet: must be named 'digits-cnn', its data set and model",
    ),
    (
        {"pairs": {"digits-resnet": {"dataset": "digits", "model": "resnet", "widths": [1]}}},
        "pairs.digits-resnet: settings of method autoprune are missing",
    ),
    (
        {"datasets": {"glyphs": {"source": "tape"}}},
        "datasets.glyphs.source: found 'tape'; known are digits, faces, folder, glyphs",
    ),
    (
        {"datasets": {"glyphs": {"options": {"writers": 3}}}},
        "datasets.glyphs.options.writers: unknown key 'writers'; known are seed, min_samples",
    ),
    ({"methods": {"magic": ["x"]}}, "methods: unknown method 'magic'; known are autoprune, dense"),
    (
        {"pairs": {"glyphs-cnn": {"more_methods": {"autoprune": ["again"]}}}},
        "pairs.glyphs-cnn.more_methods.autoprune.0: found 'again'; known are reinit, inherit",
    ),
    (
        {"pairs": {"glyphs-cnn": {"roundz": {}}}},
        "pairs.glyphs-cnn: unknown key 'roundz'; known are",
    ),
    (
        {"methods": {"found-widths": ["low"]}},
        "methods.found-widths.0: found 'low'; known are reinit, inherit",
    ),
    ({"controls": {"reference": "low"}}, "controls.reference: found 'low'; known are reinit"),
    ({"variants": {"magic": {}}}, "variants: unknown method 'magic'; known are autoprune, dense"),
    ({"pairs": {"glyphs-cnn": {"dense": 3}}}, "pairs.glyphs-cnn.dense: found 3, expected settings"),
    (
        {"methods": {"autoprune": ["again"]}},
        "methods.autoprune.0: found 'again'; known are reinit, inherit",
    ),
    (
        {"deploy": {"formats": ["onnx", "coreml"]}},
        "deploy.formats.1: found 'coreml'; known are onnx, pte, tflite",
    ),
    ({"deploy": {"formats": []}}, "deploy.formats: found 0 entries, expected 1 or more"),
    (
        {"deploy": {"round_widths_to": [8, 1]}},
        "deploy.round_widths_to.1: found 1, expected at least",
    ),
    ({"deploy": {"round_widths_to": 8}}, "deploy.round_widths_to: found 8, expected a list"),
    (
        {"deploy": {"round_widths": "off"}},
        "deploy.round_widths: found 'off'; known are nearest, up",
    ),
    ({"deploy": {"latency_rounds": 1}}, "deploy.latency_rounds: found 1, expected at least 2"),
    (
        {"deploy": {"seed": 1}},
        "deploy.seed: unknown key 'seed'; known are formats, round_widths_to",
    ),
    (
        {"datasets": {"faces": {"task": "multi-label", "stands_for": "none"}}},
        "target: found 'Smiling', expected a list of two at least for task multi-label",
    ),
    (
        {"datasets": {"faces": {"target": ["Smiling", "Male"]}}},
        "target: found ['Smiling', 'Male'], expected one; several are for task multi-label",
    ),
    (
        {"datasets": {"faces": {"task": "multi-label", "target": ["Smiling", "a, b"]}}},
        "target: found ['Smiling', 'a, b'], expected names without a comma",
    ),
    (
        {"datasets": {"faces": {"metrics": ["f1"]}}},
        "metrics: found 'f1'; known of task multi-class are macro-f1, auc",
    ),
    (
        {"datasets": {"faces": {"task": "regression", "target": "HairLength"}}},
        "stands_for: found 'celeba', expected none for task regression",
    ),
    (
        {"datasets": {"digits": {"task": "regression"}}},
        "partition.scheme: dirichlet divides by the classes of one target, found task regression",
    ),
    (
        {"datasets": {"faces": {"task": "ranking"}}},
        "datasets.faces.task: found 'ranking'; known are multi-class, multi-label, regression",
    ),
    (
        {"datasets": {"faces": NUMBERS}},
        "datasets.faces.task: found regression, which is scored by R², and digits-cnn beside it by",
    ),
    (
        {"study": ["faces-resnet"], "datasets": {"faces": NUMBERS}},
        "datasets.faces.task: found regression, and claims.accuracy_margin null, which follows",
    ),
    ({"sedes": [1]}, "; did you mean 'seeds'?"),
    ({"seeds": [3, 1, 3]}, "seeds: found 3 twice"),
    ({"seeds": [True]}, "seeds.0: found True, expected a whole number"),
    ({"backend": None}, "backend: found None; known are local, simulation, deployment"),
    ({"methods": {"dense": []}}, "methods: key 'dense' is missing, or has no variant"),
    (
        {"pairs": {"glyphs-cnn": {"methods": {"autoprune": ["reinit"]}}}},
        "pairs.glyphs-cnn.methods: key 'dense' is missing",
    ),
    (
        {"pairs": {"glyphs-cnn": {"rounds": 0}}},
        "pairs.glyphs-cnn.rounds: found 0, expected at least 1",
    ),
    (
        {"pairs": {"glyphs-cnn": {"prunefl": {"exchange": 2}}}},
        "pairs.glyphs-cnn.prunefl.exchange: found 2, expected at most 1",
    ),
    (
        {"pairs": {"glyphs-cnn": {"slimming": {"l1": 2}}}},
        "pairs.glyphs-cnn.slimming.l1: unknown key 'l1'; known are plan, dense, prune_at, rounds",
    ),
    (
        {"variants": {"autoprune": {"mine": {"like": "reinit", "kk": 2}}}},
        "variants.autoprune.mine.kk: unknown key 'kk'; known are k, patience, cap",
    ),
    (
        {"variants": {"dense": {"mine": {"like": "fedavg", "batch_size": 0}}}},
        "variants.dense.mine.batch_size: found 0, expected at least 1",
    ),
    (
        {"variants": {"autoprune": {"Mine": {"like": "reinit"}}}},
        "variants.autoprune: key 'Mine' has a form that is not allowed (^[a-z0-9][a-z0-9.-]*$)",
    ),
    (
        {"datasets": {"glyphs": {"partition": {"scheme": "random"}}}},
        "datasets.glyphs.partition.scheme: found 'random'; known are natural, iid, dirichlet",
    ),
    (
        {"datasets": {"glyphs": {"partition": {"seed": None}}}},
        "datasets.glyphs.partition.seed: found nothing, expected a whole number",
    ),
    ({"ablations": {"a": {"with": "x"}}}, "ablations.a: key 'without' is missing"),
    (
        {"pairs": {"glyphs-cnn": {"model": "cnnn"}}},
        "pairs.glyphs-cnn.model: unknown network 'cnnn'; known are cnn, cnn1d, conformer, "
        "inception, resnet",
    ),
    (
        {"networks": {"mine": {"torchvision": "resnet18", "factory": "a:b"}}},
        "networks.mine: expected one of the keys torchvision, factory",
    ),
    ({"networks": {"mine": {}}}, "networks.mine: expected one of the keys torchvision, factory"),
    ({"networks": {"mine": {"factory": "a.b"}}}, "networks.mine: network: found 'a.b', expected"),
    ({"networks": {"My": {"factory": "a:b"}}}, "networks: key 'My' has a form that is not allowed"),
    (
        {"pairs": {"digits-own": {"dataset": "digits", "model": "own"}}},
        "pairs.digits-own.model: unknown network 'own'",
    ),
    ({"claims": {"accuracy_margin": "1"}}, "claims.accuracy_margin: found '1', expected a number"),
    (
        aiming({"target_macs": 1e5, "target_bytes": 1e5}),
        "variants.autoprune.mine: found target_macs and target_bytes, expected one target",
    ),
    (aiming({"width_multiple": 8}), "width_multiple and latency_table go with a target"),
    (
        aiming({"target_macs": 1e5, "cap": 200}),
        "variants.autoprune.mine: cap: found 200, expected at most 131 in 132 rounds",
    ),
    (aiming({"target_macs": "1e5"}), "found '1e5', expected a number (YAML wants a dot: 1.0e+05)"),
    (
        aiming({"target_latency_ms": 1, "latency_table": "no/such.json", "cap": 5}),
        "variants.autoprune.mine.latency_table: no/such.json: no such file",
    ),
    (
        {"datasets": {"faces": {"target": ["Smiling", "Smiling"]}}},
        "datasets.faces.target: found 'Smiling' twice",
    ),
    ({"datasets": {"faces": {"target": 3}}}, "datasets.faces.target: found 3, expected text"),
    (
        {"training": {"server": {"strategy": "FedAvg", "x": 1}}},
        "training.server: FedAvg: unknown argument 'x'; known are none",
    ),
    ({"networks": {"cnn": {"factory": "a:b"}}}, "networks.cnn: cnn is a family's name"),
    (
        {"pairs": {"digits-cnn": {"geta": {"joint": 0.8}, "more_methods": {"geta": ["joint"]}}}},
        "pairs.digits-cnn.geta: rounds: found 132, of which warm-up, projection and joint stage",
    ),
]


@pytest.mark.parametrize(("overlay", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_wrong_values_are_refused_with_file_and_key(tmp_path, overlay, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(overlay))
    with pytest.raises(InputError) as refusal:
        check(loaded(overlay), [CONFIG, path])
    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_section_is_named():
    config = loaded()
    del config["seeds"]
    with pytest.raises(InputError, match="key 'seeds' is missing"):
        check(config, [CONFIG])


def test_snakemake_stops_with_that_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("pairs: {glyphs-cnn: {autoprune: {k: -1}}}\n")
    done = run_stage("snakemake", "-n", "--configfile", path, cwd=ROOT)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert errors == [
        f"error: {path}: pairs.glyphs-cnn.autoprune.k: found -1, expected a number above 0"
    ]
    assert "Traceback" not in done.stderr


def of_snakemake(tmp_path, *flags, **overlays):
    """The exit code and the lines on stderr of a dry run of the data, of overlays by name."""
    for name, content in overlays.items():
        (tmp_path / f"{name}.yaml").write_bytes(content)
    done = run_stage("snakemake", "-n", "--quiet", "all", *flags, "--", "data", cwd=ROOT)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("second", ["--configfile {}", "--configfile={}", "--configfiles {}"])
def test_a_second_configfile_flag_drops_nothing_silently(tmp_path, second):
    one, two = (str(tmp_path / f"{name}.yaml") for name in ("one", "two"))
    words = ["--configfile", one, *second.format(two).split()]
    code, lines = of_snakemake(tmp_path, *words, one=b"seeds: [1]", two=b"seeds: [2]")
    assert code == 1
    assert lines[-1].startswith("error: --configfile is given 2 times")
    assert lines[-1].endswith(f"behind one: --configfile {one} {two}")
    assert of_snakemake(tmp_path, "--configfile", one, two)[0] == 0


def test_a_file_that_snakemake_cannot_read_is_one_line_with_the_studys_logger(tmp_path):
    file = str(tmp_path / "latin.yaml")
    words = ["--logger", "study", "--configfile", file]
    code, lines = of_snakemake(tmp_path, *words, latin="# grö\nseeds: [1]\n".encode("latin-1"))
    assert code == 1
    assert lines[-1] == f"error: {file}: not UTF-8 at byte 4; save it as UTF-8"


def test_methods_that_only_repeat_others_are_told_how_to_be_alone(tmp_path):
    """Case 15: an overlay that wants dense alone; and as the line says, it is."""
    only = tmp_path / "only.yaml"
    only.write_text("methods: {dense: [fedavg]}\n")
    (line,) = without_effect(read_config([only], CONFIG), [CONFIG, only])
    assert line.startswith(f"note: {only}: methods: merged with those of other files, so that ")
    assert line in of_snakemake(tmp_path, "--configfile", str(only))[1]
    names = line.partition("that ")[2].partition(" run too")[0].split(", ")
    assert {"autoprune", "narrow"} < {*names}
    gone = {name: [] for name in names}
    alone = {"methods": {"autoprune": []}, "pairs": {"digits-cnn": {"methods": gone}}}
    only.write_text(yaml.safe_dump(alone))
    config = read_config([only], CONFIG)
    assert {run.method for run in runs_of(config)} == {"dense"}
    assert list(without_effect(config, [CONFIG, only])) == []
    code, lines = of_snakemake(tmp_path, "--configfile", str(only))
    assert (code, [line for line in lines if "note" in line]) == (0, [])
    only.write_text("methods: {taylor: [classical]}\n")  # adds one
    assert list(without_effect(read_config([only], CONFIG), [CONFIG, only])) == []


def test_options_of_another_source_name_both_files(tmp_path):
    """Case 17: a data set's name of config.yaml with a source of one's own."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("datasets: {glyphs: {source: leaf, options: {folder: x}}}\n")
    with pytest.raises(InputError) as refusal:
        read_config([mine], CONFIG)
    assert str(refusal.value).startswith(f"{CONFIG}: datasets.glyphs.options.clients: unknown")
    assert f"source leaf stands in {mine}: give the data set another name" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"seeds: [0]\ntraining: {rounds: 2}\nseeds: [1]\n",
            "key 'seeds' is given twice, in lines 1 and 3",
        ),
        (b"training: {rounds: 2,\n  rounds: 3}\n", "key 'rounds' is given twice, in lines 1 and 2"),
        (b"# a\nseeds: [010]\n", "line 2: found 010, which YAML reads as octal (8)"),
        ("# grö\nseeds: [1]\n".encode("latin-1"), "not UTF-8 at byte 4; save it as UTF-8"),
        (b"training: {learning_rate: .nan}\n", "training.learning_rate: found nan, expected"),
        (b"training: {learning_rate: .inf}\n", "training.learning_rate: found inf, expected"),
        (b"- 1\n", "expected keys at the top level, found [1]"),
    ],
)
def test_what_yaml_reads_without_a_word_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_config([path], CONFIG)
    assert str(refusal.value).startswith(f"{path}: {message}")


def test_a_byte_order_mark_is_none_of_the_first_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfseeds: [3]\n")
    assert read_config([path], CONFIG)["seeds"] == [3]


def test_the_weights_of_a_start_are_a_file_of_the_runs_input_and_no_setting(tmp_path):
    """Of a folder its weights, be it there, with a dot in its name, or yet to be trained."""
    (tmp_path / "run.v2").mkdir()
    (tmp_path / "bare").touch()
    run = Run("digits", "cnn", "dense", "fedavg", 0)
    for start, file in (
        ("results/runs/digits/cnn/dense/fedavg/seed-1", "/seed-1/weights.safetensors"),
        (str(tmp_path / "run.v2"), "/run.v2/weights.safetensors"),
        (str(tmp_path / "bare"), "/bare"),
        ("results/runs/x.pt", "results/runs/x.pt"),
        ("", ""),
    ):
        config = loaded({"pairs": {"digits-cnn": {"start": start}}})
        resolve(config)
        assert start_of(config, run).endswith(file)
        assert bool(start_of(config, run)) == bool(start)
        assert "start" not in told(config, run)
