"""Whole studies of other tasks, by the configurations of docs/how-to/choose-a-task.md."""

import json
import re
import subprocess

import pytest

from copies import ROOT, copy_of_the_repository, environment

PAGE = (ROOT / "docs/how-to/choose-a-task.md").read_text()
CONFIGS = dict(re.findall(r'```yaml title="([a-z]+)\.yaml"\n(.*?)```', PAGE, re.DOTALL))
MANIFEST = "runs/{}/cnn/autoprune/reinit/seed-0/export/onnx/manifest.json"
JSON_OR_PICTURE = re.compile(r'<script id="data".*?</script>|base64,[A-Za-z0-9+/=]*', re.DOTALL)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "dataset", "score", "said"),
    [("both", "both", "accuracy", "sigmoid"), ("number", "hair", "r2", "standardised: times")],
)
def test_a_study_goes_from_its_data_to_its_report_and_exports(tmp_path, name, dataset, score, said):
    folder = copy_of_the_repository(tmp_path / "a study")
    (folder / "mine.yaml").write_text(CONFIGS[name])
    command = ["snakemake", "--cores", "2", "all", "--configfile", "mine.yaml"]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = folder / "results" / name
    exported = json.loads((results / MANIFEST.format(dataset)).read_text())["models"]
    for model in exported:
        assert said in model["outputs"]
        assert f"test_{score}" in model
    page = JSON_OR_PICTURE.sub("", (results / "report/index.html").read_text())
    own = page[page.index('id="results"') :]  # behind the claims, some of which are the notebooks'
    assert "test accuracy of" in page
    assert bool(re.search(r"\baccurac", own)) is (score == "accuracy")
    findings = (results / "findings.md").read_text()
    assert ("hundredths of R²" in findings) is (score == "r2")
