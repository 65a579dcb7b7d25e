"""``consensus-bench completion SHELL``: the script that completes commands, flags, sites and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  consensus-bench completion bash > ~/.local/share/bash-completion/completions/consensus-bench
    zsh:   consensus-bench completion zsh > a folder of $fpath, as the file _consensus-bench
    fish:  consensus-bench completion fish > ~/.config/fish/completions/consensus-bench.fish
    """
    from consensus_bench.cli import group

    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(group, {}, "consensus-bench", "_CONSENSUS_BENCH_COMPLETE").source())
