"""The server: AutoPrune where another app has FedAvg."""

import json
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from safetensors.torch import save_file

from autoprune import AutoPrune
from pruned_digits import task

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train and prune; leave the plan and the weights in the folder ``output``, if there is one."""
    config = context.run_config
    torch.manual_seed(int(config["seed"]))
    model = task.build()
    strategy = AutoPrune(
        model,
        task.EXAMPLE,
        k=float(config["k"]),
        patience=int(config["patience"]),
        cap=int(config["cap"]),
        keep=str(config["keep"]),
    )
    held_out = task.held_out()

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        net = strategy.network(arrays)
        parameters = sum(tensor.numel() for tensor in net.parameters())
        accuracy = task.accuracy(net, held_out)
        found = MetricRecord({"accuracy": accuracy, "parameters": parameters})
        print(f"round {server_round}:", json.dumps(dict(found)), flush=True)
        return found

    initial = ArrayRecord(model.state_dict())
    strategy.start(grid, initial, num_rounds=int(config["rounds"]), evaluate_fn=evaluate)
    if config["output"]:
        output = Path(str(config["output"]))
        output.mkdir(parents=True, exist_ok=True)
        (output / "plan.json").write_text(json.dumps(strategy.plan))
        save_file(strategy.network().state_dict(), output / "weights.safetensors")
