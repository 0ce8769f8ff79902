"""`pi-dagster init`: a site folder from a few answers, and the check whether it works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pi_dagster.cli.check import told_of_check
from pi_dagster.cli.options import JsonOption
from pi_dagster.cli.questions import Questions
from pi_dagster.cli.site_folder import SECRETS_FILE, SITE_FILE, write_site_folder
from pi_dagster.cli.site_questions import LOGIN_KINDS, GivenAnswers, ask_for_site, is_set
from pi_dagster.cli.telling import USERS_MISTAKE, complain, errors_told_plainly, print_json
from pi_dagster.default_site import SITE_VARIABLE


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The folder of the site; made if need be.")
    ] = Path(),
    url: Annotated[str | None, typer.Option(metavar="URL", help="Base URL of PI Web API, ends in /piwebapi.")] = None,
    login: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            autocompletion=lambda: LOGIN_KINDS.split(", "),
            help=f"How to log in: {LOGIN_KINDS}. Default: basic.",
        ),
    ] = None,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="Account of a basic or NTLM login.")] = None,
    principal: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Kerberos: who logs in. Default: whom the ticket is for."),
    ] = None,
    keytab: Annotated[
        str | None, typer.Option(metavar="FILE", help="Kerberos: the keytab. Default: the tickets of `kinit`.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(metavar="ID", help="OpenID Connect: the client's id.")] = None,
    secret_env: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE",
            help="Environment variable that holds the password, token or client secret. Default: PI_PASSWORD, PI_TOKEN "
            "or PI_CLIENT_SECRET.",
        ),
    ] = None,
    ca_bundle: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM file with the authority that signed the certificate.")
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN", help="A tag group and its tags, with * and ?; may be repeated. Default: all=*."
        ),
    ] = None,
    lake: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the Delta tables go. Default: lake/ in the folder.")
    ] = None,
    start_date: Annotated[
        str | None, typer.Option(metavar="DATE", help="First day that can be loaded. Default: January 1 of this year.")
    ] = None,
    assets: Annotated[bool, typer.Option(help="Load AF elements and event frames too.")] = True,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The site's name. Default: the folder's.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: defaults for what no option says.")] = False,
    run_check: Annotated[bool, typer.Option("--check/--no-check", help="Run `pi-dagster check` at the end.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make a folder with a site: defs.yaml, where its secrets go, and what `dagster dev` needs.

    Asks for what no option says where there is a terminal. Files that are there stay as they are. A password that you
    type goes into .env, which only you can read; options take none, as everybody on the machine sees them.

    \b
    Examples:
      pi-dagster init plant1
      pi-dagster init --url https://pi.example.com/piwebapi --login ntlm --username 'PLANT\\svc' --yes
      pi-dagster init --url http://127.0.0.1:5450/piwebapi --login anonymous --tags 'boilers=BLR*' --tags 'rest=*' -y
    """
    if (folder / SITE_FILE).exists():
        complain(
            f"Error: there is a site already, {folder / SITE_FILE}, and it stays as it is. Choose another folder, or "
            "edit that file and run `pi-dagster check`."
        )
        raise typer.Exit(USERS_MISTAKE)
    with errors_told_plainly():
        site = ask_for_site(
            Questions.for_this_terminal(wanted=not yes),
            folder,
            GivenAnswers(
                url=url,
                ca_bundle=ca_bundle,
                login=login,
                login_settings={"username": username, "principal": principal, "keytab": keytab, "client_id": client_id},
                secret_env=secret_env,
                tags=tags or (),
                lake=lake,
                start_date=start_date,
                has_assets=assets,
                name=name,
            ),
        )
        try:
            written, kept = write_site_folder(folder, site)
        except OSError as error:
            complain(f"Error: the folder {folder} cannot be written: {error.strerror}. Choose another one.")
            raise typer.Exit(USERS_MISTAKE) from None
        if not as_json:
            print(f"Written in {folder.resolve()}: {', '.join(written)}")
        if kept:
            complain(f"Note: these were there and stay as they are: {', '.join(kept)}.")
        if SECRETS_FILE in kept:
            complain(f"Note: put the line {SITE_VARIABLE}={SITE_FILE} into {folder / SECRETS_FILE}.")
        os.environ.update(site.values)
        missing = [variable for variable in site.secrets if not is_set(variable)]
        if missing:
            complain(
                f"Note: nothing is checked yet. Put {' and '.join(missing)} into {folder / SECRETS_FILE}, then run "
                "`pi-dagster check` there."
            )
        exit_code, checked = 0, None
        if run_check and not missing:
            from pi_dagster.components.site_file import load_site

            exit_code, checked = told_of_check(load_site(folder / SITE_FILE), quiet=as_json)
    if as_json:
        print_json({"folder": str(folder.resolve()), "written": written, "kept": kept, "check": checked})
    else:
        _print_next_steps(folder, is_checked=checked is not None, is_well=exit_code == 0)
    if exit_code:
        raise typer.Exit(exit_code)


def _print_next_steps(folder: Path, *, is_checked: bool, is_well: bool) -> None:
    after = f"   # once {SITE_FILE}, or the secret in {SECRETS_FILE}, is put right" if not is_well else ""
    steps = [
        *([f"cd {folder}"] if folder.resolve() != Path.cwd() else []),
        *([] if is_checked and is_well else [f"pi-dagster check{after}"]),
        "dagster dev",
        "pi-dagster backfill   # in a second terminal: loads the list of tags, and yesterday",
    ]
    print("Next:", *steps, sep="\n  ")
