"""Write each node's digits to a file of its own, as SuperNodes on machines of their own have them.

python -m pruned_digits.share FOLDER NODES
"""

import sys
from pathlib import Path

from safetensors.torch import save_file

from pruned_digits import task


def main(folder: str, nodes: int) -> None:
    """Write node-0.safetensors, node-1.safetensors, ... ."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for node in range(nodes):
        data = {name: values.contiguous() for name, values in task.share(node, nodes).items()}
        save_file(data, Path(folder) / f"node-{node}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
