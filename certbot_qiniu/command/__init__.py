"""The command ``certbot-qiniu``: one file for each of its subcommands, and what they share."""
