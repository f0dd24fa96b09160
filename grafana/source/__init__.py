"""Where the dashboards, alert rules and provisioning files of this folder come from. ../generate.py writes the files."""
