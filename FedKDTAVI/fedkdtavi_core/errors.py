"""Errors a person can act on: each is one sentence and carries the exit code of the command line."""

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_NO_ROOT = 3
EXIT_INPUT = 4
EXIT_BUNDLE = 5
EXIT_CANCELLED = 130


class FedKDTAVIError(Exception):
    """Base of all errors that are shown as one sentence: what is wrong with what, and what to do."""

    exit_code = 1
    code = "error"


class UsageError(FedKDTAVIError):
    """The command or call is wrong: an option, an output folder, an unknown name."""

    exit_code = EXIT_USAGE
    code = "usage"


class NoRootError(FedKDTAVIError):
    """No aortic root was found in the CT, or the CT does not cover it."""

    exit_code = EXIT_NO_ROOT
    code = "no_root"


class InputError(FedKDTAVIError):
    """The input cannot be read or is refused: broken file, wrong modality, impossible geometry."""

    exit_code = EXIT_INPUT
    code = "input"


class BundleError(FedKDTAVIError):
    """The model bundle is refused: altered, truncated, unsafe or of an unknown version."""

    exit_code = EXIT_BUNDLE
    code = "bundle"


class Cancelled(FedKDTAVIError):
    """The person asked to stop."""

    exit_code = EXIT_CANCELLED
    code = "cancelled"
