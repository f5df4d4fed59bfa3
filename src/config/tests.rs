//! What a configuration file may say, and what a wrong one is told.

use super::*;

fn problems(text: &str) -> Vec<String> {
    let error = Config::parse(text, Path::new("test.toml")).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_built_in_configuration_is_a_complete_call_centre_on_loopback() {
    let config = Config::built_in();
    assert_eq!(config.origin, Origin::BuiltIn);
    assert_eq!(config.node.id.get(), 1);
    assert_eq!(config.node.data, Path::new("data"));
    assert_eq!(config.sip.udp, ["127.0.0.1:5060".parse().unwrap()]);
    assert_eq!(config.sip.tcp, ["127.0.0.1:5060".parse().unwrap()]);
    assert_eq!(config.http.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.media.rtp_port_min.get(), 40_000);
    assert_eq!(config.media.rtp_port_max.get(), 59_999);
    assert_eq!(config.number[0].number.as_str(), "1000");
    assert_eq!(config.number[0].flow.as_ref().unwrap().as_str(), "demo");
    let people: Vec<_> = config.people().iter().map(|agent| agent.id.to_string()).collect();
    assert_eq!(people, ["ana", "ben", "sue", "admin"]);
    assert_eq!(config.input(&config.flows.directory), Path::new("config/flows"));
    assert_eq!(config.recordings(), Path::new("data/recordings"));
}

#[test]
fn an_empty_file_has_the_same_addresses_as_the_built_in_one() {
    let config = Config::parse("", Path::new("empty.toml")).unwrap();
    let built_in = Config::built_in();
    assert_eq!(config.sip.udp, built_in.sip.udp);
    assert_eq!(config.sip.tcp, built_in.sip.tcp);
    assert_eq!(config.http.listen, built_in.http.listen);
}

#[test]
fn the_bench_configuration_serves_the_numbers_of_the_scenarios() {
    let config = Config::load(Path::new("config/bench.toml")).unwrap();
    let number = |name: &str| config.number.iter().find(|n| n.number.as_str() == name).unwrap();
    assert_eq!(number("service").target.as_ref().unwrap().as_str(), "sip:x@127.0.0.1:5070");
    assert_eq!(number("b2b").target.as_ref().unwrap().as_str(), "sip:x@127.0.0.1:5171");
    assert!(number("ivr").flow.is_some());
    assert!(number("queue").queue.is_some());
    assert!(number("echo").echo);
    let people = config.people();
    let agents: Vec<_> = people.iter().filter(|agent| agent.always_ready).collect();
    assert_eq!(agents.len(), 100);
    assert_eq!(agents[0].id.as_str(), "agent001");
    assert_eq!(agents[99].device.as_ref().unwrap().as_str(), "sip:agent100@127.0.0.1:5080");
}

#[test]
fn the_cluster_configurations_are_three_nodes_with_one_directory() {
    let nodes: Vec<_> = (1..=3)
        .map(|id| Config::load(Path::new(&format!("config/cluster/node{id}.toml"))).unwrap())
        .collect();
    for (node, id) in nodes.iter().zip(1..) {
        let own: std::net::IpAddr = format!("127.0.0.1{id}").parse().unwrap();
        assert_eq!(node.node.id.get(), id);
        assert_eq!(node.sip.udp[0].ip(), own);
        assert_eq!(node.http.listen.ip(), own);
        assert_eq!(node.cluster.listen.unwrap().ip(), own);
        assert_eq!(node.cluster.member, nodes[0].cluster.member);
        let entries = |config: &Config| {
            serde_json::to_string(&(&config.number, &config.queue, &config.agent)).unwrap()
        };
        assert_eq!(entries(node), entries(&Config::built_in()));
    }
}

#[test]
fn the_witness_configurations_are_two_nodes_and_one_without_calls() {
    let load =
        |name: &str| Config::load(Path::new(&format!("config/witness/{name}.toml"))).unwrap();
    let nodes = ["node1", "node2", "witness"].map(load);
    assert_eq!(nodes.each_ref().map(Config::is_witness), [false, false, true]);
    assert_eq!(nodes.each_ref().map(|node| node.node.id.get()), [1, 2, 3]);
    let entries = |config: &Config| {
        serde_json::to_string(&(&config.number, &config.queue, &config.agent)).unwrap()
    };
    for node in &nodes {
        let own = node.cluster.member.iter().find(|member| member.id == node.node.id).unwrap();
        assert_eq!(node.cluster.listen, Some(own.address));
        assert_eq!(Some(node.http.listen), own.http);
        assert_eq!(node.cluster.member, nodes[0].cluster.member);
        let of_calls = if node.is_witness() { &Config::default() } else { &Config::built_in() };
        assert_eq!(entries(node), entries(of_calls));
    }
}

/// Three members, of which those named are witnesses, as this one sees it.
fn members(own: u8, witnesses: &[u8], more: &str) -> String {
    let mut text = format!(
        "{more}[node]\nid = {own}\n[cluster]\nlisten = \"127.0.0.1:700{own}\"\n\
         secret = \"sixteen bytes or more\"\n"
    );
    for id in 1..=3 {
        text += &format!("[[cluster.member]]\nid = {id}\naddress = \"127.0.0.1:700{id}\"\n");
        if witnesses.contains(&id) {
            text += "role = \"witness\"\n";
        }
    }
    text
}

#[test]
fn a_witness_with_calls_is_a_contradiction() {
    let fine = members(3, &[3], "[log]\nfilter = \"debug\"\n");
    assert!(Config::parse(&fine, Path::new("test.toml")).unwrap().is_witness());
    let calls = "[sip]\nudp = [\"127.0.0.1:5060\"]\n[[number]]\nnumber = \"1\"\necho = true\n";
    let lines = problems(&members(3, &[3], calls));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let says = |line: &str, section: &str| {
        line.contains(&format!("this node is a witness, which has no calls: remove {section},"))
    };
    assert!(lines[0].starts_with("test.toml:1:2: ") && says(&lines[0], "sip"), "{lines:?}");
    assert!(lines[1].starts_with("test.toml:3:3: ") && says(&lines[1], "number"), "{lines:?}");
    // The others may have them.
    assert!(Config::parse(&members(1, &[3], calls), Path::new("test.toml")).is_ok());
}

#[test]
fn beside_a_witness_two_nodes_have_calls() {
    for witnesses in [&[2, 3][..], &[1, 2, 3]] {
        let lines = problems(&members(3, witnesses, ""));
        assert!(lines[0].contains("beside a witness at least 2 must"), "{lines:?}");
    }
}

#[test]
fn the_shared_configurations_are_two_machines_with_one_node() {
    let [alpha, beta] = ["alpha", "beta"]
        .map(|name| Config::load(Path::new(&format!("config/shared/{name}.toml"))).unwrap());
    assert_ne!(alpha.shared.name, beta.shared.name);
    assert_ne!(alpha.http.listen, beta.http.listen);
    let same = |config: &Config| {
        let mut config = config.clone();
        (config.shared.name, config.http.listen) = (None, alpha.http.listen);
        serde_json::to_string(&config).unwrap()
    };
    assert_eq!(same(&alpha), same(&beta));
    assert!(alpha.moves_addresses());
}

#[test]
fn shared_storage_says_what_it_needs() {
    assert_eq!(
        problems("[shared]\nname = \"alpha\"\n"),
        [
            "test.toml:2:8: shared storage needs fence_command; where nothing is to be fenced, say fence_waived = true"
        ]
    );
    let text = "[shared]\nname = \"alpha\"\nfence_waived = true\n[recording]\ndirectory = \"r\"\n";
    assert_eq!(
        problems(text),
        [
            "test.toml:5:13: with shared storage recordings are in node.data: remove recording.directory"
        ]
    );
}

#[test]
fn an_unknown_key_is_named_with_line_and_nearest_key() {
    assert_eq!(
        problems("[sip]\nudpp = []\n\n[queues]\n"),
        [
            "test.toml:2:1: unknown key `udpp` in [sip]; the nearest valid key is `udp`",
            "test.toml:4:2: unknown key `queues` in the file; the nearest valid key is `queue`",
        ]
    );
    assert_eq!(
        problems("[[queue]]\nid = \"a\"\nring_secs = 5\n"),
        [
            "test.toml:3:1: unknown key `ring_secs` in [queue]; the nearest valid key is `ring_seconds`"
        ]
    );
    assert_eq!(
        problems("[[cluster.member]]\nid = 1\naddres = \"x\"\n"),
        [
            "test.toml:3:1: unknown key `addres` in [cluster.member]; the nearest valid key is `address`"
        ]
    );
    assert_eq!(problems("zzz = 1"), ["test.toml:1:1: unknown key `zzz` in the file"]);
}

#[test]
fn a_value_outside_its_limits_is_named_with_line_and_limits() {
    assert_eq!(
        problems("[[queue]]\nid = \"a\"\nring_seconds = 1\n"),
        ["test.toml:3:16: 1 is outside 3 to 300 seconds"]
    );
    assert!(problems("[http]\nlisten = 5\n")[0].starts_with("test.toml:2:10: invalid type"));
    assert!(problems("[http\n")[0].starts_with("test.toml:1:6: "));
    assert!(problems("[[queue]]\nname = \"x\"\n")[0].contains("missing field `id`"));
}

#[test]
fn every_contradiction_is_reported_at_once() {
    let text = r#"
[media]
rtp_port_min = 50000
rtp_port_max = 50000
[[number]]
number = "1"
flow = "a"
echo = true
[[number]]
number = "1"
queue = "none"
[[number]]
number = "2"
agent = "none"
[[agent]]
id = "ana"
queues = ["q"]
[[agent_range]]
prefix = "an"
first = 0
count = 1
digits = 1
queues = []
device = "tel:{id}"
"#;
    assert_eq!(
        problems(text),
        [
            "test.toml:4:16: rtp_port_max 50000 is not above rtp_port_min 50000",
            "test.toml:6:10: a number has exactly one of flow, queue, agent, target, echo, reject; \
             this has flow and echo",
            "test.toml:10:10: number \"1\" is there already",
            "test.toml:11:9: there is no queue none",
            "test.toml:14:9: there is no agent none",
            "test.toml:17:10: there is no queue q",
            "test.toml:24:10: \"tel:an0\" is no SIP URI: sip:user@host, sip:host:port or sips:…",
        ]
    );
}

#[test]
fn trunks_that_cannot_do_what_they_are_to_are_refused() {
    let trunk = "[[trunk]]\nname = \"a\"\naddress = \"sip:x\"\n";
    let says = |text: &str| problems(text).join("\n");
    assert!(says(&format!("{trunk}calls_in_max = 3\n")).contains("its limit needs sources"));
    let other = trunk.replace("\"a\"", "\"b\"");
    let source = "sources = [\"10.0.0.1\"]\n";
    let twice = says(&format!("{trunk}{source}{other}{source}"));
    assert!(twice.contains("calls from 10.0.0.1 are another trunk's already"), "{twice}");
    assert!(says(&format!("{trunk}sources = [\"ten\"]\n")).contains("is no address"));
    let many = (0..=16).map(|n| trunk.replace("\"a\"", &format!("\"t{n}\"")));
    assert!(says(&many.collect::<String>()).contains("at most 16 trunks share a prefix"));
}

#[test]
fn a_cluster_needs_a_secret_an_address_and_itself() {
    let text = "[node]\nid = 2\n[[cluster.member]]\nid = 1\naddress = \"127.0.0.1:7000\"\n";
    let lines = problems(text).join("\n");
    assert!(lines.contains("members need cluster.secret"), "{lines}");
    assert!(lines.contains("this node, 2, is not among the members"), "{lines}");
    assert!(problems("[cluster]\nsecret = \"short\"")[0].contains("shorter than 16 bytes"));
    assert!(problems("[cluster]\nsecret_file = \"/nonexistent\"")[0].contains("cannot be read"));
}

#[test]
fn secrets_are_printed_nowhere() {
    let text = "[cluster]\nsecret = \"correct horse battery\"\n\
                [[agent]]\nid = \"ana\"\npassword = \"hunter2\"\nphone_password = \"hunter3\"\n\
                [[trunk]]\nname = \"t\"\naddress = \"sip:x\"\nuser = \"u\"\npassword = \"hunter4\"\n";
    let config = Config::parse(text, Path::new("test.toml")).unwrap();
    let seen = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!seen.contains("correct horse") && !seen.contains("hunter"), "{seen}");
    assert_eq!(config.cluster_secret().unwrap().reveal(), "correct horse battery");
}

#[test]
fn the_reference_is_current() {
    let file = Path::new("docs/configuration.md");
    if std::env::var_os("TANDEM_WRITE_DOCS").is_some() {
        fs::write(file, markdown()).unwrap();
    }
    let written = fs::read_to_string(file).unwrap_or_default();
    assert!(written == markdown(), "run TANDEM_WRITE_DOCS=1 cargo test -p tandem --lib config");
}

#[test]
fn a_queue_says_who_takes_which_caller_when() {
    let text = "[[queue]]\nid = \"q\"\nstrategy = \"highest_level\"\nage_seconds = 30\n\
                [[queue.member]]\nagent = \"ana\"\npenalty = 2\n\
                [[queue.ring]]\nafter_seconds = 0\nskills = { tax = 40 }\n\
                [[queue.ring]]\nafter_seconds = 20\nqueues = [\"r\"]\nwaives_caller = true\n\
                [[queue]]\nid = \"r\"\n\
                [[agent]]\nid = \"ana\"\nqueues = [\"q\"]\nskills = { tax = 50 }\n\
                [[class]]\nname = \"gold\"\ncallers = [\"+49*\"]\npriority = 3\n";
    let config = Config::parse(text, Path::new("test.toml")).unwrap();
    let directory = config.directory(BTreeMap::new());
    assert_eq!(directory.check(), Ok(()));
    let id = tandem_center::QueueId::parse("q").unwrap();
    let distribution = &directory.queues[&id].distribution;
    let ana = tandem_center::AgentId::parse("ana").unwrap();
    assert_eq!((distribution.member(&ana).penalty, distribution.age_seconds), (2, 30));
    assert_eq!(distribution.rings[1].queues[0].as_str(), "r");
    assert_eq!(directory.agents[&ana].skills["tax"], 50);
    assert_eq!(directory.class_of("+4930", "x").unwrap().priority, 3);
}

#[test]
fn what_is_wrong_with_a_queue_is_said_with_its_line() {
    let text = "[[queue]]\nid = \"q\"\nstay_needs = \"available\"\nstrategy = \"highest_level\"\n\
                [[queue.member]]\nagent = \"nobody\"\n\
                [[queue.ring]]\nafter_seconds = 5\nqueues = [\"r\"]\n";
    let error = Config::parse(text, Path::new("test.toml")).unwrap_err().to_string();
    for said in [
        "there is no agent nobody",
        "ring 1 begins after 5 s",
        "there is no queue r",
        "give overflow_empty or overflow",
        "test.toml:4:12: there is no level to choose by",
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
}
