"""Settings of a node: precedence, origins, and one sentence for every mistake."""

from pathlib import Path

import pytest

from raftq_cluster.config import EXIT_USAGE, StartError
from raftq_cluster.config.loading import FILE_BYTES_MAX, Loaded, load
from raftq_cluster.config.settings import OPTIONS, Address, Settings, without_password


def loaded(directory: Path, *, env=None, config=None, **flags) -> Loaded:
    return load(flags, env or {}, config=config, directory=directory)


def refusal(directory: Path, *, env=None, config=None, **flags) -> str:
    with pytest.raises(StartError) as caught:
        loaded(directory, env=env, config=config, **flags)
    assert caught.value.exit_code == EXIT_USAGE
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_without_anything_given_every_setting_has_its_default(tmp_path):
    result = loaded(tmp_path)
    assert result.settings == Settings()
    assert set(result.origins.values()) == {"default"}
    assert result.settings.http == Address("127.0.0.1", 7677)
    assert result.settings.text == Address("127.0.0.1", 7979)


def test_a_variable_wins_over_the_file_and_a_flag_over_both(tmp_path):
    file = tmp_path / "raftq.toml"
    file.write_text('data-dir = "a"\nnode-id = "a"\nbackend = "memory"\n')
    env = {"RAFTQ_DATA_DIR": "b", "RAFTQ_NODE_ID": "b"}
    result = loaded(tmp_path, env=env, data_dir="c")
    settings = result.settings
    assert (settings.data_dir, settings.node_id, settings.backend) == ("c", "b", "memory")
    assert result.origins["data_dir"] == "--data-dir"
    assert result.origins["node_id"] == "RAFTQ_NODE_ID"
    assert result.origins["backend"] == f"{file}, backend"
    assert result.origins["http"] == "default"


def test_a_flag_that_was_not_given_leaves_the_other_sources_alone(tmp_path):
    assert loaded(tmp_path, env={"RAFTQ_DATA_DIR": "b"}, data_dir=None).settings.data_dir == "b"


def test_an_empty_variable_counts_as_unset(tmp_path):
    assert loaded(tmp_path, env={"RAFTQ_HTTP": ""}).settings.http.port == 7677


def test_a_named_file_is_read_in_place_of_the_one_in_the_directory(tmp_path):
    (tmp_path / "raftq.toml").write_text('node-id = "here"\n')
    other = tmp_path / "other.toml"
    other.write_text('node-id = "there"\n')
    assert loaded(tmp_path, config=str(other)).settings.node_id == "there"
    assert loaded(tmp_path, env={"RAFTQ_CONFIG": str(other)}).settings.node_id == "there"


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_every_setting_can_be_given_as_flag_variable_and_key(tmp_path, option):
    samples = {"http": "[::1]:9", "text": "localhost:9", "backend": "memory", "insecure": "true"}
    samples |= {"acked_ends": "space"}
    samples |= {"log_level": "debug", "log_format": "json", "node_id": "n9", "data_dir": "d"}
    samples |= {"peer": "[::1]:8", "peer_advertise": "h:1", "join": "h:1,h:2"}
    samples |= {"initial_cluster": "a=h:1,b=h:2"}
    samples |= {"postgres_dsn": "postgresql://h/d", "postgres_schema": "s", "postgres_poll": "true"}
    together = (("peer_cert", "peer_key", "peer_ca"), ("tls_cert", "tls_key", "tls_ca"))
    samples |= {name: "f" for names in together for name in names} | {"tokens": "f"}
    raw = samples.get(option.name, "2048")
    toml = raw if raw.isdigit() or raw == "true" else f'"{raw}"'
    others = {
        n: "f" for names in together if option.name in names for n in names if n != option.name
    }
    if option.name == "postgres_dsn":
        others = {"backend": "postgres"}
    (tmp_path / "raftq.toml").write_text(f"{option.key} = {toml}\n")
    from_file = loaded(tmp_path, **others)
    from_variable = loaded(tmp_path / "empty", env={option.variable: raw}, **others)
    from_flag = loaded(tmp_path / "empty", **{option.name: raw}, **others)
    assert from_file.settings == from_variable.settings == from_flag.settings != Settings()
    assert from_flag.origins[option.name] == option.flag


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_every_setting_says_what_it_is_for(option):
    assert option.help


@pytest.mark.parametrize(
    ("text", "bytes_"), [("2048", 2048), ("8KiB", 8192), ("3MiB", 3 << 20), ("2GiB", 2 << 30)]
)
def test_sizes_may_carry_a_binary_suffix(tmp_path, text, bytes_):
    assert loaded(tmp_path, bytes_held_max=text).settings.bytes_held_max == bytes_


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("http", "7677", "HOST:PORT"),
        ("http", ":7677", "HOST:PORT"),
        ("http", "127.0.0.1:65536", "HOST:PORT"),
        ("http", "127.0.0.1:-1", "HOST:PORT"),
        ("http", "127.0.0.1:²", "HOST:PORT"),
        ("text", "::1:7979", "HOST:PORT"),
        ("backend", "mysql", "raft or memory or postgres"),
        ("log_level", "loud", "debug or info or warning or error"),
        ("node_id", "a b", "a name"),
        ("data_dir", "", "a path"),
        ("connections_max", "0", "a whole number from 1 to 1000000"),
        ("connections_max", "many", "a whole number"),
        ("connections_max", "9" * 5000, "a whole number"),
        ("body_bytes_max", "5XiB", "a whole number"),
        ("body_bytes_max", "1023", "a whole number from 1024"),
        ("drain_ms", "1.5", "a whole number"),
        ("insecure", "maybe", "true or false"),
    ],
)
def test_a_bad_value_is_refused_with_the_flag_and_what_it_should_be(tmp_path, name, raw, expected):
    sentence = refusal(tmp_path, **{name: raw})
    assert sentence.startswith(f"{OPTIONS[name].flag}: ")
    assert expected in sentence


def test_a_bad_variable_is_refused_by_its_name(tmp_path):
    assert refusal(tmp_path, env={"RAFTQ_TEXT": "x"}).startswith("RAFTQ_TEXT: 'x' is not HOST:PORT")


@pytest.mark.parametrize(
    "line", ["connections-max = '9'", "data-dir = 3", "http = 7677", "text = {}"]
)
def test_a_key_of_the_wrong_type_is_refused_by_file_and_key(tmp_path, line):
    (tmp_path / "raftq.toml").write_text(line)
    assert f"raftq.toml, {line.split()[0]}: " in refusal(tmp_path)


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    (tmp_path / "raftq.toml").write_text("data-dri = 'x'")
    assert refusal(tmp_path).endswith("unknown key data-dri; is data-dir meant?")


def test_a_key_like_no_other_is_refused_without_a_guess(tmp_path):
    (tmp_path / "raftq.toml").write_text("zzz = 1")
    assert refusal(tmp_path).endswith("has the unknown key zzz")


@pytest.mark.parametrize("content", [b"= 1", b"\xff\xfe", b"data-dir = 'a'\ndata-dir = 'b'"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    (tmp_path / "raftq.toml").write_bytes(content)
    assert "raftq.toml is not TOML: " in refusal(tmp_path)


def test_a_file_too_large_to_be_settings_is_not_parsed(tmp_path):
    (tmp_path / "raftq.toml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    assert "is no settings file" in refusal(tmp_path)


def test_a_named_file_that_is_missing_is_refused_by_whatever_named_it(tmp_path):
    missing = str(tmp_path / "none.toml")
    assert refusal(tmp_path, config=missing).startswith("--config: ")
    assert refusal(tmp_path, env={"RAFTQ_CONFIG": missing}).startswith("RAFTQ_CONFIG: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.org"])
def test_other_machines_are_let_in_only_on_request(tmp_path, host):
    address = f"{host}:7677"
    assert refusal(tmp_path, http=address).startswith(f"--http: {address} can be reached")
    assert loaded(tmp_path, http=address, insecure=True).settings.http.port == 7677


@pytest.mark.parametrize("port", ["http", "text"])
@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ({}, "--tls-cert and --tls-key and --tokens"),
        ({"tls_cert": "c", "tls_key": "k"}, "--tokens"),
        ({"tls_cert": "c", "tls_key": "k", "tls_ca": "a"}, "--tokens"),
        ({"tokens": "t"}, "--tls-cert and --tls-key"),
    ],
)
def test_other_machines_are_let_in_with_both_tls_and_tokens_only(tmp_path, port, given, lacking):
    address = {port: "192.0.2.1:1"}
    assert f"give {lacking}, or say --insecure" in refusal(tmp_path, **address, **given)
    both = {"tls_cert": "c", "tls_key": "k", "tokens": "t"}
    assert loaded(tmp_path, **address, **both).settings.tokens == "t"


@pytest.mark.parametrize(
    "given", [{"tls_cert": "c"}, {"tls_key": "k"}, {"tls_ca": "a"}, {"tls_ca": "a", "tls_key": "k"}]
)
def test_files_of_tls_stand_together_only(tmp_path, given):
    assert "--tls-cert and --tls-key" in refusal(tmp_path, **given)


@pytest.mark.parametrize("name", ["RAFTQ_TOKEN", "RAFTQ_CA", "RAFTQ_TOKEN_FILE"])
def test_variables_of_clients_are_no_misspelt_settings(tmp_path, name):
    assert loaded(tmp_path, env={name: "x"}).warnings == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_loopback_needs_no_permission(tmp_path, host):
    assert loaded(tmp_path, http=f"{host}:1").settings.http.is_loopback


def test_an_open_address_from_the_file_is_refused_by_file_and_key(tmp_path):
    (tmp_path / "raftq.toml").write_text("text = '0.0.0.0:1'")
    assert "raftq.toml, text: 0.0.0.0:1 can be reached" in refusal(tmp_path)


def test_one_port_cannot_serve_both_protocols(tmp_path):
    assert "--text" in refusal(tmp_path, http="127.0.0.1:9", text="127.0.0.1:9")
    assert loaded(tmp_path, http="127.0.0.1:0", text="127.0.0.1:0").settings.text.port == 0


def test_a_misspelt_variable_is_warned_about_and_foreign_ones_are_not(tmp_path):
    env = {"RAFTQ_DATADIR": "x", "RAFTQ_PORT_7677_TCP_ADDR": "10.0.0.1", "RAFTQ_URL": "raftq://h:1"}
    assert loaded(tmp_path, env=env).warnings == (
        "RAFTQ_DATADIR is not a setting; is RAFTQ_DATA_DIR meant?",
    )


def test_addresses_are_written_as_they_are_read():
    for text in ("127.0.0.1:1", "[::1]:0", "localhost:65535"):
        assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"peer": "0.0.0.0:7678"}, "--peer-cert, --peer-key and --peer-ca"),
        ({"peer_cert": "c"}, "give all three"),
        ({"join": "h:1", "initial_cluster": "a=h:1"}, "give one of them"),
        ({"backend": "postgres"}, "needs --postgres-dsn"),
        ({"postgres_dsn": "postgresql://h/d"}, "needs --backend postgres"),
        ({"postgres_schema": "a;b"}, "is not a name of at most 50 small letters"),
        ({"join": "nowhere"}, "--join: 'nowhere' is not HOST:PORT"),
        ({"initial_cluster": "a=h:1,a=h:2"}, "with each id and address once"),
        ({"initial_cluster": "a=h:1,b=h:1"}, "with each id and address once"),
        ({"initial_cluster": "h:1"}, "--initial-cluster"),
        ({"peer_advertise": "h"}, "--peer-advertise"),
        ({"join": "h:1", "backend": "memory"}, "--backend raft"),
        ({"peer": "127.0.0.1:7979"}, "is what --text listens on already"),
    ],
)
def test_settings_of_a_cluster_that_make_no_sense_are_refused_in_one_sentence(
    tmp_path, given, said
):
    with pytest.raises(StartError) as refused:
        loaded(tmp_path, **given)
    assert said in refused.value.sentence


@pytest.mark.parametrize(
    ("listening", "peer", "reached"),
    [
        ("0.0.0.0:7677", "n1:7678", "n1:7677"),
        ("[::]:7677", "[fd00::1]:7678", "[fd00::1]:7677"),
        ("0.0.0.0:7677", "", "0.0.0.0:7677"),
        ("10.0.0.1:7677", "n1:7678", "10.0.0.1:7677"),
    ],
)
def test_who_listens_everywhere_is_reached_where_peers_reach_it(listening, peer, reached):
    assert str(Address.parse(listening).reached(peer)) == reached


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:s3cret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@h/d?password=s3cret&x=1", "postgresql://u@h/d?password=***&x=1"),
        ("host=h password='s3 cret' user=u", "host=h password=*** user=u"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u:s3:cr@et@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u:s3/cr?e#t@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h:5432/d?sslpassword=s3cret", "postgresql://h:5432/d?sslpassword=***"),
    ],
)
def test_a_password_in_a_dsn_is_not_shown(dsn, shown):
    assert without_password(dsn) == shown
