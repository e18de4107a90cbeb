"""The corpus of bad inputs, item by item, and the test that holds each.

A test is named by its function, and in brackets by what of its table is meant: text that stands in its file.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
READER, ERRORS, BLOCKS = "config/test_reader.py", "config/test_errors.py", "config/test_blocks.py"
RESOLVED = "config/test_resolved.py"
OVERRIDES, COMMANDS, MEMORY = "config/test_overrides.py", "cli/test_commands.py", "test_memory.py"
DATA, CHECKPOINTS, SECURITY = (f"bad_inputs/test_{name}.py" for name in ("data", "checkpoints", "security"))
IMAGES, SIGNALS, DISK, KILL = (
    "data/test_images.py",
    "faults/test_signals.py",
    "faults/test_disk.py",
    "faults/test_kill.py",
)

YAML = {
    "missing file": (READER, "test_refused_paths", "none.yaml"),
    "a directory": (READER, "test_refused_paths", "folder.yaml"),
    "empty": (READER, "test_refused", '"empty"'),
    "a top-level list": (READER, "test_refused", '"list"'),
    "two documents": (READER, "test_refused", '"two documents"'),
    "tab indent": (READER, "test_refused", '"tab"'),
    "unclosed bracket": (READER, "test_refused", '"bracket"'),
    "invalid UTF-8": (READER, "test_refused_bytes", "latin-1"),
    "NUL byte": (READER, "test_refused", '"NUL"'),
    "duplicate key": (READER, "test_refused", '"duplicate"'),
    "!!python/object/apply:os.system, no canary": (ERRORS, "test_as_a_process", "touch canary"),
    "9-level alias bomb": (READER, "test_refused", '"bomb"'),
    "self-recursive anchor": (READER, "test_refused", '"recursive"'),
    "10,000-deep nesting": (READER, "test_refused", '"10,000 lists"'),
    "over 1 MiB": (READER, "test_refused_bytes", "over 1 MiB"),
    "2024-13-45": (ERRORS, "test_layer", "¦2024-13-45"),
    "0x_": (ERRORS, "test_layer", "¦0x_"),
    "a 5,000-digit integer": (READER, "test_refused", '"5,000 digits"'),
    "unknown key at any depth": (ERRORS, "test_elsewhere", "¦n_epochs: 3"),
    "missing required key": (ERRORS, "test_missing", "needs layers"),
    "several mistakes at once": (ERRORS, "test_all_at_once", ""),
    ".nan": (ERRORS, "test_layer", "dropout: ¦.nan"),
    ".inf": (ERRORS, "test_elsewhere", "lr: ¦.inf"),
    "negative learning rate": (ERRORS, "test_elsewhere", "lr: ¦-1"),
    "true where an integer is due": (ERRORS, "test_layer", "filters: ¦true"),
    "filters: 0": (ERRORS, "test_layer", "filters: ¦0"),
    "filters: -1": (ERRORS, "test_layer", "filters: ¦-1"),
    "filters: 1e12": (ERRORS, "test_layer", "filters: ¦1e12"),
    "kernel larger than the map": (ERRORS, "test_shapes_above_a_wrong_layer", "kernel 9x9 does not fit"),
    "groups that do not divide": (ERRORS, "test_layer", "groups: 3"),
    "a branch whose heights differ": (ERRORS, "test_layer", "their heights and widths differ"),
    "from: an unknown name": (ERRORS, "test_layer", "from: ¦nowhere"),
    "from: a later name": (ERRORS, "test_layer", "from: ¦fc1"),
    "duplicate names": (ERRORS, "test_layer", "is taken in this list"),
    "softmax width not equal to the number of classes": (ERRORS, "test_elsewhere", "¦fc: 7"),
    "trained, then never readable": (RESOLVED, "test_what_is_read_can_be_resolved_and_read_again", "700 convolutions"),
    "a block of thousands, used thousands of times": (
        RESOLVED,
        "test_a_block_of_thousands_used_thousands_of_times_is_refused_at_once",
        "",
    ),
    "every layer wrong": (ERRORS, "test_every_layer_wrong", ""),
    "a block that calls itself": (BLOCKS, "test_refused", "calls itself"),
    "$missing parameter": (BLOCKS, "test_refused", "¦$missing"),
    "parameters that would not fit in memory": (ERRORS, "test_too_many_parameters_for_this_machine", ""),
    "run name ../../etc/x": (ERRORS, "test_run_name_outside", "../../etc/x"),
    "run name absolute": (ERRORS, "test_run_name_outside", "/etc/x"),
    "run name through a symlink": (SECURITY, "test_a_link_in_the_place_of_a_run_is_not_followed", ""),
    "accepted: 1e-3": (READER, "test_scalars_are_what_was_written", '"1e-3"'),
    "accepted: no": (READER, "test_scalars_are_what_was_written", '"no"'),
    "accepted: on": (READER, "test_scalars_are_what_was_written", '"on"'),
    "accepted: 010": (READER, "test_scalars_are_what_was_written", '"010"'),
    "accepted: 1:30": (READER, "test_scalars_are_what_was_written", '"1:30"'),
    "accepted: Unicode names": (ERRORS, "test_run_name_inside", "网络"),
    "accepted: CRLF": (READER, "test_line_ends_and_byte_order_mark", "\\r\\n"),
    "accepted: a BOM": (READER, "test_line_ends_and_byte_order_mark", "\\ufeff"),
}

CHECKPOINT = {
    "missing": (CHECKPOINTS, "test_missing", ""),
    "an empty directory": (CHECKPOINTS, "test_refused", '"empty directory"'),
    "manifest only": (CHECKPOINTS, "test_refused", '"manifest only"'),
    "truncated at any byte": (
        "runs/test_checkpoint.py",
        "test_any_flipped_bit_or_cut_is_found_and_the_file_named",
        "cut",
    ),
    "one flipped bit anywhere": (
        "runs/test_checkpoint.py",
        "test_any_flipped_bit_or_cut_is_found_and_the_file_named",
        "",
    ),
    "header length 2^63": (CHECKPOINTS, "test_refused", '"header length 2^63"'),
    "overlapping tensor offsets": (CHECKPOINTS, "test_refused", '"overlapping tensor offsets"'),
    "shape x dtype overflow": (CHECKPOINTS, "test_refused", '"shape x dtype overflow"'),
    "extra tensor": (CHECKPOINTS, "test_refused", '"extra tensor"'),
    "missing tensor": (CHECKPOINTS, "test_refused", '"missing tensor"'),
    "renamed tensor": (CHECKPOINTS, "test_refused", '"renamed tensor"'),
    "shape differs from the config": (CHECKPOINTS, "test_refused", '"shape differs from the config"'),
    "format newer than this program": (CHECKPOINTS, "test_refused", '"format newer than this program"'),
    "a pickle named .safetensors": (CHECKPOINTS, "test_refused", '"pickle named .safetensors"'),
    "manifest with ../x": (CHECKPOINTS, "test_refused", '"manifest with ../x"'),
    "manifest with an absolute path": (CHECKPOINTS, "test_refused", '"manifest with an absolute path"'),
    "a symlink": (CHECKPOINTS, "test_refused", '"symlink"'),
    "manifest that is NaN-valued": (CHECKPOINTS, "test_refused", '"manifest that is NaN-valued"'),
    "manifest of 100 MB": (CHECKPOINTS, "test_refused", '"manifest of 100 MB"'),
    "NaN weights": (CHECKPOINTS, "test_weights_that_are_nan_load_with_a_warning", ""),
    "resume with another config": (CHECKPOINTS, "test_resume_with_another_config_lists_what_differs", ""),
    "resume with other data": (CHECKPOINTS, "test_resume_with_other_data", ""),
    "newest one corrupt": (CHECKPOINTS, "test_the_newest_corrupt_is_told_and_the_one_before_used", ""),
    "all corrupt": (CHECKPOINTS, "test_all_corrupt_never_starts_again", ""),
}

FILES = {
    "empty directory": (DATA, "test_refused", '"empty directory"'),
    "missing directory": (DATA, "test_refused", '"missing directory"'),
    "one class only": (DATA, "test_refused", '"one class only"'),
    "a truncated PNG": (DATA, "test_refused", '"truncated PNG"'),
    "a truncated JPEG": (DATA, "test_refused", '"truncated JPEG"'),
    "0 bytes": (DATA, "test_refused", '"0 bytes"'),
    "60,000 x 60,000 bomb": (DATA, "test_refused", '"60,000 x 60,000 bomb"'),
    "EPS named .png": (DATA, "test_refused", '"EPS named .png"'),
    "TIFF named .png": (DATA, "test_refused", '"TIFF named .png"'),
    "16-bit": (IMAGES, "test_sixteen_bits_keep_their_high_byte", ""),
    "CMYK": (IMAGES, "test_cmyk", ""),
    "palette": (IMAGES, "test_palette_one_bit_and_transparent_palette", ""),
    "alpha": (IMAGES, "test_alpha_is_composited_on_black", ""),
    "EXIF-rotated": (IMAGES, "test_exif_orientation", ""),
    "IDX count not equal to bytes": (DATA, "test_refused", '"IDX count not equal to bytes"'),
    "gzip bomb": (DATA, "test_refused", '"gzip bomb"'),
    "label out of range": (DATA, "test_refused", '"label out of range"'),
    "an npy object array": (DATA, "test_refused", '"npy object array"'),
    "a class named [/bold]": (DATA, "test_markup_in_a_class_name_is_a_name", "[/bold]"),
    "a class folder with ANSI escapes": (DATA, "test_refused", '"class folder with ANSI escapes"'),
    "a class folder with a newline": (DATA, "test_refused", '"class folder with a newline"'),
    "FIFO": (DATA, "test_refused", '"FIFO"'),
    "device": (DATA, "test_refused", '"device"'),
    "symlink loop": (DATA, "test_refused", '"symlink loop"'),
    "a file deleted during the epoch": (DATA, "test_a_file_deleted_during_the_epoch", ""),
    "a zip member that escapes": (DATA, "test_refused", '"zip member that escapes"'),
    "a tar member that escapes": (DATA, "test_refused", '"tar member that escapes"'),
}

ENVIRONMENT = {
    "unknown command": (COMMANDS, "test_mistakes_get_a_line_and_an_exit_code_and_leave_nothing", '"fly"'),
    "unknown flag": (SECURITY, "test_unknown_flags_are_usage_errors", ""),
    "malformed override": (OVERRIDES, "test_refused", "train..epochs=3"),
    "an override of thousands of dots": (OVERRIDES, "test_refused_at_any_length", '"dots"'),
    "an override of thousands of digits": (OVERRIDES, "test_refused_at_any_length", '"digits"'),
    "run locked by another process": (SIGNALS, "test_two_processes_do_not_train_one_run", ""),
    "read-only runs": (DISK, "test_training_survives_a_failure_at_every_call", "EROFS"),
    "disk full at any write": (DISK, "test_training_survives_a_failure_at_every_call", "ENOSPC"),
    "JAX_PLATFORMS=cuda without a GPU": (COMMANDS, "test_no_gpu_where_one_is_asked_for", ""),
    "out of memory": (MEMORY, "test_memory_that_runs_out_in_truth", ""),
    "stdout closed": (SIGNALS, "test_training_goes_on_when_nobody_listens", ""),
    "LANG=C": (COMMANDS, "test_any_terminal_will_do", '"LANG": "C"'),
    "TERM=dumb": (COMMANDS, "test_any_terminal_will_do", '"TERM": "dumb"'),
    "20 columns": (COMMANDS, "test_any_terminal_will_do", '"COLUMNS": "20"'),
    "no colour": (COMMANDS, "test_any_terminal_will_do", '"NO_COLOR": "1"'),
    "not a terminal": (COMMANDS, "test_any_terminal_will_do", "capture_output"),
    "the clock moved back": (SECURITY, "test_the_clock_decides_nothing", ""),
    "SIGINT, SIGTERM at every stage": (
        SIGNALS,
        "test_stopped_at_any_stage_it_goes_on_to_the_same_end",
        "",
    ),
    "SIGKILL anywhere": (KILL, "test_killed_at_random_instants_it_ends_with_the_same_bytes", ""),
    "a second SIGINT": (SIGNALS, "test_a_second_signal_ends_at_once_even_while_compiling", ""),
}

CORPUS = [
    pytest.param(*where, id=f"{name}: {item}")
    for name, items in (("YAML", YAML), ("checkpoint", CHECKPOINT), ("data", FILES), ("environment", ENVIRONMENT))
    for item, where in items.items()
]


@pytest.mark.parametrize(("file", "function", "says"), CORPUS)
def test_every_item_has_its_test(file, function, says):
    text = (TESTS / file).read_text(encoding="utf-8")
    assert function in {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert says in text
