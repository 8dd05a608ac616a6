"""Completion for shells, made from the parser itself."""

from __future__ import annotations

import argparse

_BASH = """\
# bash completion for {program}
_{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words
    case $COMP_CWORD:$command in
        1:*) words="{commands}" ;;
{cases}
    esac
    # A word that begins with no dash may be a file.
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [[ $current == -* || ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$current"))
}}
complete -F _{function} {program}"""

_ZSH = """\
#compdef {program}
autoload -U +X bashcompinit && bashcompinit
"""


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """A script that completes the commands and their options."""
    commands = {name: command for action in parser._actions
                if isinstance(action, argparse._SubParsersAction)
                for name, command in action.choices.items()}
    cases = "\n".join(f'        *:{name}) words="{_options(command)}" ;;'
                      for name, command in commands.items())
    script = _BASH.format(
        program=parser.prog, function=parser.prog.replace("-", "_"), cases=cases,
        commands=" ".join([*commands, *_options(parser).split()]))
    return _ZSH.format(program=parser.prog) + script if shell == "zsh" else script


def _options(parser: argparse.ArgumentParser) -> str:
    return " ".join(option for action in parser._actions for option in action.option_strings
                    if option.startswith("--"))
