"""Grafana's provisioning files for the data source and the folder of dashboards."""

from .panels import DATA_SOURCE_TYPES, DATA_SOURCE_UIDS

_NAMES = {"mysql": "bftap (MySQL)", "postgres": "bftap (PostgreSQL)"}


def data_sources(database):
    """The data source. What differs between installations comes from Grafana's environment; the password is never in the file."""
    connection = {"maxOpenConns": 10, "maxIdleConns": 10, "connMaxLifetime": 14400, "database": "$BFTAP_DB_NAME"}
    if database == "mysql":
        # No query of ours uses the session's time zone. Said all the same, for queries that users write.
        connection["timezone"] = "+00:00"
    else:
        connection |= {"sslmode": "$BFTAP_DB_SSLMODE", "postgresVersion": 1500, "timescaledb": False}
    return {
        "apiVersion": 1,
        "datasources": [{
            "name": _NAMES[database],
            "uid": DATA_SOURCE_UIDS[database],
            "type": DATA_SOURCE_TYPES[database],
            "access": "proxy",
            "url": "$BFTAP_DB_ADDRESS",
            "user": "$BFTAP_DB_USER",
            "jsonData": connection,
            "secureJsonData": {"password": "$BFTAP_DB_PASSWORD"},
            "editable": False,
        }],
    }


def dashboards(_database):
    """The folder that Grafana reads our dashboards from."""
    return {
        "apiVersion": 1,
        "providers": [{
            "name": "bftap",
            "orgId": 1,
            "folder": "bftap",
            "type": "file",
            "disableDeletion": False,
            "allowUiUpdates": False,
            "updateIntervalSeconds": 30,
            "options": {"path": "$BFTAP_DASHBOARDS"},
        }],
    }
