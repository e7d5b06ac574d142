"""The package as a user sees it. Needs the built wheel: `pip install './python[test]'`, then `pytest python`."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import wafersim

QUICK = {"model": "llama-3.1-8b", "wafers": 1, "context": "1k", "search": "none"}


def test_an_answer_is_a_dataclass():
    answer = wafersim.answer(**QUICK, ranges="none")
    assert (answer.model, answer.wafers, answer.context) == ("llama-3.1-8b", 1, 1024)
    assert answer.profiles["published"].tokens_per_second_per_user <= answer.tokens_per_second_per_user
    assert answer.reached == (answer.tokens_per_second_per_user >= answer.verdict.target)
    assert sum(row.share for row in answer.breakdown) == pytest.approx(1.0)
    assert all(sum(row.causes.values()) == pytest.approx(row.cycles) for row in answer.breakdown)
    assert answer.provenance["version"] == wafersim.__version__
    assert "no mapping beats" in answer._repr_html_()


def test_settings_are_those_of_simctl():
    slow = wafersim.answer(**QUICK, ranges="none", wafer_parameters={"clock.frequency": 0.85}, clock_ghz=0.85)
    fast = wafersim.answer(**QUICK, ranges="none")
    assert slow.tokens_per_second_per_user < fast.tokens_per_second_per_user
    scenario = wafersim.Scenario(model="llama-3.1-8b", wafers=1, context=1024)
    assert wafersim.answer(scenario, search="none", ranges="none").raw == fast.raw
    assert {"users", "wafer.clock.frequency"} <= {entry["path"] for entry in wafersim.settings()}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"users": 0}, "users"),
        ({"usres": 1}, "users"),
        ({"model": "qwen3-codr-480b-a35b"}, "qwen3-coder-480b-a35b"),
        ({"search": "some"}, "quick"),
        ({"mapping": "beast"}, "best"),
    ],
)
def test_wrong_input_says_what_is_allowed(given, said):
    with pytest.raises(wafersim.WafersimError, match=said):
        wafersim.answer(**{**QUICK, **given})


def test_a_plan_is_a_table():
    done = []
    plan = wafersim.plan(
        model="llama-3.1-8b", users=[1, 4], context=["1k", "4k"], wafers=[1], search="none", progress=lambda *at: done.append(at)
    )
    assert len(plan) == 4 and done[-1] == (4, 4)
    assert [(row["context"], row["users"]) for row in plan] == [(1024, 1), (1024, 4), (4096, 1), (4096, 4)]
    one = wafersim.answer(model="llama-3.1-8b", wafers=1, context=4096, users=4, search="none", ranges="none")
    assert plan.rows[3]["tokens_per_second_per_user"] == one.tokens_per_second_per_user
    assert plan.to_csv().startswith("model,wafer,")


def test_columns_are_handed_over_by_arrow():
    pyarrow = pytest.importorskip("pyarrow")
    plan = wafersim.plan(model="llama-3.1-8b", users=[1, 1_000_000], context="1k", wafers=[1], search="none")
    table = pyarrow.table(plan)
    assert table.num_rows == 2 and table.schema.field("users").type == pyarrow.uint64()
    assert table.column("fits").to_pylist() == [True, False]
    assert table.column("tokens_per_second_per_user").to_pylist() == [row["tokens_per_second_per_user"] for row in plan]


def test_a_found_mapping_gives_its_answer_again():
    found = wafersim.search(model="llama-3.1-8b", wafers=1, context="1k")
    asked = {**QUICK, "ranges": "none"}
    given = wafersim.answer(**{**asked, "mapping": found})
    assert given.tokens_per_second_per_user == wafersim.answer(**{**asked, "search": "quick"}).tokens_per_second_per_user


def test_a_stream_runs():
    scenario = """
    [machine]
    model = "llama-3.1-8b"
    wafers = 1
    context = 4096
    users = 2
    [load]
    kind = "closed"
    users = 2
    prompt = { median = 300, spread = 0.5 }
    output = { median = 40, spread = 0.5 }
    [run]
    requests = 20
    """
    run = wafersim.stream(scenario, search="none", set={"run.seed": 3})
    named = wafersim.stream(
        scenario, model=wafersim.Model("llama-3.1-8b"), wafer=wafersim.Wafer("wse3"), search="none", set={"run.seed": 3}
    )
    assert named.raw["outcome"] == run.raw["outcome"]
    config = {"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 16}
    config |= {"num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 8192, "intermediate_size": 4096}
    small = wafersim.Model.of({**config, "rms_norm_eps": 1e-5, "rope_theta": 1e4}, name="small")
    own = wafersim.stream(scenario, model=small, search="none", set={"run.seed": 3})
    assert own.users_speed["p50"] > run.users_speed["p50"], "it has fewer and smaller layers"
    with pytest.raises(wafersim.WafersimError, match="allowed here: a name"):
        wafersim.size(users=4, model=small, context=2048, search="none", ttft_p95="20s")
    assert run["outcome"]["totals"]["arrived"] >= 20 and run["provenance"]["seed"] == 3
    assert run.tokens_per_second > 0 and run.users_speed["p50"] > 0


def test_measurements_are_predicted():
    found = wafersim.validate()
    assert found.mape_percent < 5 and found["mape_percent"] == found.mape_percent and found.rows > 100
    assert "Mean absolute error" in str(found)


def test_models_and_wafers_are_made_here():
    model, wafer = wafersim.Model("llama-3.1-8b"), wafersim.Wafer("wse3")
    assert model.parameters == 8_030_261_248 and wafer.parameters["fabric.columns"] == 762
    asked = {**QUICK, "ranges": "none"}
    usual = wafersim.answer(**asked)
    assert wafersim.answer(**{**asked, "model": model, "wafer": wafer}).raw == usual.raw
    config = {"model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8}
    config |= {"num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 4096, "intermediate_size": 1024}
    small = wafersim.Model.of({**config, "rms_norm_eps": 1e-5, "rope_theta": 1e4}, name="small")
    larger = wafersim.Wafer("base = 'wse3'\n[fabric.columns]\nvalue = 900\nunit = 'PEs'\nlow = 800\nhigh = 950\nevidence = 'guess'\nsource = 'what if'\n")
    answer = wafersim.answer(**{**asked, "model": small, "wafer": larger})
    assert answer.model == "small" and larger.parameters["fabric.columns"] == 900
    assert wafersim.plan(model=small, wafer=larger, users=[1, 2], context="1k", search="none").model == "small"
    with pytest.raises(wafersim.WafersimError, match="model_type"):
        wafersim.Model.of({"model_type": "frob"})
    assert "fabric.columns" in wafer._repr_html_()


def test_what_must_be_true_for_a_target():
    found = wafersim.goal(**QUICK, target=1, vary=["users", "wafer.clock.frequency"])
    assert found.reached and {lever.path for lever in found.levers} <= {"users", "wafer.clock.frequency"}
    assert found.text and "<pre>" in found._repr_html_()
    with pytest.raises(wafersim.WafersimError, match="frob"):
        wafersim.goal(**QUICK, vary=["frob"])


def test_how_many_machines_a_load_needs():
    asked = {"model": "llama-3.1-8b", "wafers": 1, "context": 2048, "search": "none", "seeds": 1}
    found = wafersim.size(users=4, **asked, ttft_p95="20s")
    assert found.feasible and found.machines >= 1 and found.wafers_per_machine == 1
    for given, said in [({}, "ttft_p95"), ({"ttft_p59": "1s"}, "ttft_p95"), ({"speed_p5": "fast"}, "above 0")]:
        with pytest.raises(wafersim.WafersimError, match=said):
            wafersim.size(users=4, **asked, **given)
    with pytest.raises(wafersim.WafersimError, match="seeds"):
        wafersim.size(users=4, **{**asked, "seeds": 0}, ttft_p95="20s")


def test_a_wafer_map_is_a_picture():
    drawn = wafersim.wafer_map(**QUICK)
    assert drawn._repr_svg_().startswith("<svg") and isinstance(drawn, wafersim.Picture)


def test_columns_are_arrays():
    pytest.importorskip("pyarrow")
    plan = wafersim.plan(model="llama-3.1-8b", users=[1, 4], context="1k", wafers=[1], search="none")
    speeds = plan.to_numpy("tokens_per_second_per_user")
    assert speeds.dtype == "float64" and list(speeds) == [row["tokens_per_second_per_user"] for row in plan]
    assert "tokens per second" in plan._repr_html_()


def test_importing_needs_nothing_else():
    heavy = {"numpy", "pandas", "polars", "pyarrow", "ray", "IPython"}
    code = f"import sys, wafersim; print(*({heavy!r} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert said.split() == []


def test_other_threads_run_meanwhile():
    ticks = 0
    stop = threading.Event()

    def tick():
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    wafersim.answer(ranges="none")
    stop.set()
    thread.join()
    assert ticks > 10


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT there")
def test_ctrl_c_ends_the_waiting():
    code = "import wafersim; print('ready', flush=True); wafersim.answer(search='thorough')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in said


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT there")
@pytest.mark.parametrize(
    "call",
    ["search(effort='thorough')", "answer(search='thorough')", "size(users=300, context=100_000, ttft_p95='1s', speed_p5=300)"],
)
def test_ctrl_c_ends_the_work(call):
    """Nothing is computed soon after: it does not go on for nobody. Threads of a pool stay, and have nothing to do."""
    code = f"""
import time, wafersim
def at_work():
    before = time.process_time()
    time.sleep(1.0)
    return time.process_time() - before > 0.1
print("ready", flush=True)
try:
    wafersim.{call}
except KeyboardInterrupt:
    print("stopped", flush=True)
while at_work():
    pass
print("gone", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopped\n", "it was done before Ctrl-C came"
    said, _ = process.communicate(timeout=60)
    assert said == "gone\n"


def test_the_same_as_simctl():
    simctl = shutil.which("simctl")
    if simctl is None:
        pytest.skip("simctl is not on PATH")
    command = [simctl, "run", "--model", "llama-3.1-8b", "--wafers", "1", "--context", "1k", "--search", "none"]
    said = json.loads(subprocess.run([*command, "--ranges", "none", "--format", "json"], capture_output=True, check=True).stdout)
    own = wafersim.answer(**QUICK, ranges="none").raw
    assert {key: said[key] for key in own if key != "provenance"} == {key: own[key] for key in own if key != "provenance"}
