"""`maskwright train` and what its checkpoints are good for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from maskwright.cli.train_lines import LinePrinter

# what a training reports at its start
START = {
    "device": "cpu, 2 threads",
    "precision": "fp32",
    "weights": 3_000_000,
    "images": 10,
    "objects": 20,
    "validation_images": 0,
    "classes": ["square"],
    "steps": 100,
    "batch_size": 2,
    "epochs": 20.0,
}


def test_training_prints_every_step_and_leaves_checkpoints(trained):
    folder, outcome = trained
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("device        cpu, 1 thread; fp32")
    assert "training      3 images with 3 objects" in lines
    assert "classes       1: square" in lines
    assert "length        2 steps of 2 images: 1.33 epochs" in lines
    assert any(line.startswith("starts at random, which takes far more images and steps") for line in lines)
    assert outcome.err == ""
    steps = [line for line in lines if line.startswith(("step", "estimate"))]
    assert steps[0].startswith("step 1/2  loss ")
    assert steps[1].startswith("estimate      at most 0:00:")
    assert "memory so far" in steps[1]
    assert any(line.startswith("step 2/2  validation  loss ") and "mask AP" in line for line in lines)
    assert f"best weights  {folder / 'checkpoints' / 'best.safetensors'}" in lines
    assert "the best checkpoint, of step 2:" in lines
    sizes = [line.split(": ") for line in lines if " MB: " in line]
    assert [what for _, what in sizes] == [
        "the weights to predict with",
        "those of the last step with the state of the run, for --resume",
    ]
    assert (folder / "metrics.json").is_file()


def test_folder_of_another_run_is_refused(here, tiny, trained):
    outcome = here("train", tiny.recipe, *tiny.overrides, "train.iterations=3", "--output", trained[0])
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: output folder {trained[0]} belongs to another run")
    changed = here("train", tiny.recipe, *tiny.overrides, "train.iterations=3", "--resume", "--output", trained[0])
    assert changed.status == 2
    assert "train.iterations" in changed.err


def test_finished_run_can_be_resumed_and_is_measured_again(here, tiny, trained):
    outcome = here("train", tiny.recipe, *tiny.overrides, "--resume", "--output", trained[0])
    assert outcome.status == 0, outcome.err
    assert "2 steps done\n" in outcome.out
    assert "AP50" in outcome.out
    assert "step 1/2" not in outcome.out


def test_inspect_shows_what_a_run_left(here, trained):
    outcome = here("inspect", trained[0] / "checkpoints" / "last.safetensors")
    assert outcome.status == 0, outcome.err
    told = dict(line.split(None, 1) for line in outcome.out.splitlines())
    assert told["lineage"] == "maskwright"
    assert told["architecture"].startswith("Mask R-CNN, ResNet-18 (width 8, norm batch), FPN of 16 channels")
    assert told["categories"] == "square (1)"
    assert told["fit"] == "every weight fits"
    assert told["training"].startswith("step 2")
    assert told["training"].endswith("for --resume")


def test_inspect_refuses_a_cut_off_file(here, trained, tmp_path):
    whole = (trained[0] / "checkpoints" / "best.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:1000])
    outcome = here("inspect", tmp_path / "cut.safetensors")
    assert outcome.status == 2
    assert "cut off" in outcome.err


def test_evaluation_of_a_checkpoint_writes_what_the_contract_says(here, tiny, trained, tmp_path):
    outcome = here(
        "evaluate", "--model", trained[0] / "checkpoints" / "best.safetensors", "--images", tiny.images,
        "--annotations", tiny.annotations, "--output", tmp_path / "out", "--max-detections", 1,
        "--set", "detect.score_threshold=0",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR"} <= metrics["box"].keys() & metrics["mask"].keys()
    assert metrics["images"] == 3
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 3
    assert "AP50" in outcome.out
    assert "warning: 3 images reached the limit of 1 detections" in outcome.err


def test_evaluation_does_not_overwrite_the_metrics_of_a_run(here, tiny, trained):
    outcome = here(
        "evaluate", "--model", "mask_rcnn", "--images", tiny.images, "--annotations", tiny.annotations,
        "--output", trained[0],
    )  # fmt: skip
    assert outcome.status == 2
    assert "has other files in it" in outcome.err


def test_seconds_of_a_step_are_those_since_the_line_before(capsys):
    report = LinePrinter()
    report(0, START, "start")
    capsys.readouterr()
    report(20, {"loss": 1.0, "learning_rate": 1e-3, "seconds": 5.0}, "train")
    report(40, {"loss": 1.0, "learning_rate": 1e-3, "seconds": 10.0}, "train")
    assert capsys.readouterr().out.splitlines() == [
        "step 20/100  loss 1.0000  lr 1.00e-03  0.25 s/step  eta 0:00:20",
        "step 40/100  loss 1.0000  lr 1.00e-03  0.50 s/step  eta 0:00:30",
    ]


def test_a_run_that_was_taken_up_says_where_it_goes_on(capsys):
    LinePrinter()(60, {**START, "precision_reason": "as the run began"}, "start")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "device        cpu, 2 threads; fp32 (as the run began)"
    assert lines[-1] == "goes on after step 60"


def test_on_a_machine_without_gpu_a_large_network_gets_the_name_of_the_recipe_that_fits(capsys):
    LinePrinter()(0, {**START, "smaller": "nuclei/mask_rcnn_small"}, "start")
    assert "the recipe that fits this machine is nuclei/mask_rcnn_small with categories=[]" in capsys.readouterr().err


def test_patience_says_why_it_ends_a_run(capsys):
    report = LinePrinter()
    report(0, START, "start")
    capsys.readouterr()
    numbers = {"evaluations": 2, "best_metric": "mask.AP", "best": 0.5, "best_step": 20, "reason": "patience"}
    report(60, numbers, "stop")
    report(60, {**numbers, "best": None}, "stop")
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "step 60/100  stops early: mask.AP has not risen above the 0.500 of step 20, and the validation loss has not "
        "fallen, in 2 evaluations (train.patience=2)"
    )
    assert "mask.AP has never had a value" in second


@pytest.mark.slow
def test_interrupted_training_says_what_is_kept_and_how_to_go_on(tiny, tmp_path):
    words = [sys.executable, "-m", "maskwright", "train", tiny.recipe, *tiny.overrides, "train.iterations=100000"]
    with subprocess.Popen(
        [*words, "--output", tmp_path / "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        for line in training.stdout:
            if line.startswith("step 2/"):
                break
        training.send_signal(signal.SIGINT)
        training.stdout.read()
        message = training.stderr.read()
    assert training.returncode == 130
    assert message.splitlines()[-1].startswith("interrupted: the run up to its last checkpoint is in ")
    assert "Traceback" not in message
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_speak_with_one_voice(tiny, tmp_path):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "maskwright", "train"]
    done = subprocess.run(
        [sys.executable, *words, tiny.recipe, *tiny.overrides, "--device", "cpu", "--output", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 1/2  loss") == 1
    assert done.stdout.count("2 steps done") == 1
