"""Where the project's own files lie, also of a study in another folder: -s .../Snakefile -d FOLDER.

in:  the folder of this file
out: WORKFLOW, the package on Python's path, own()
"""

import os
import sys
from pathlib import Path

WORKFLOW = Path(workflow.current_basedir).parent
sys.path.insert(0, str(WORKFLOW))
sys.path.append(os.getcwd())  # as a job has it: where a network of your own may lie


def own(file):
    """A file of the project, named from the folder in which the study runs where that is its own.

    So a study that is moved together with its project has nothing to do.
    """
    here = WORKFLOW.parent == Path.cwd()
    return file if here or file.startswith("<") else str(WORKFLOW.parent / file)
