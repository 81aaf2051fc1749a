"""The client: its first line takes the smaller network, all else is as in any Flower app."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

import autoprune
from pruned_digits import task

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the network that came on this node's digits, and send it back."""
    torch.set_num_threads(1)  # the order of sums depends on it
    net = autoprune.received(message, task.build())
    data, config = task.load_data(context.node_config), context.run_config
    server_round = message.content.config_records["config"]["server-round"]
    assert isinstance(server_round, int)
    loss = task.train(
        net, data, int(config["local-epochs"]), float(config["learning-rate"]), server_round
    )
    metrics = MetricRecord({"num-examples": len(data["labels"]), "train-loss": loss})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Say how many of its own digits the network that came names rightly."""
    net = autoprune.received(message, task.build())
    data = task.load_data(context.node_config)
    accuracy = task.accuracy(net, data)
    metrics = MetricRecord({"num-examples": len(data["labels"]), "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
