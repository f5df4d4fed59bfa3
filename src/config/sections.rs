//! The sections that say where this node listens, what it may use and where its files are.
//!
//! Inputs (flows, prompts, music, secrets) with a relative path are looked up from the folder of
//! the configuration file; outputs (data, recordings, caches) from the working directory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{
    AnswerSeconds, CallsMax, DrainSeconds, ElectionTicks, GraceSeconds, HttpUrl, LockSeconds,
    LoginFailures, MediaThreads, Megabytes, Name, NodeNumber, RegisterSeconds, ReloadSeconds,
    RtpPort, Secret, SessionSeconds, SessionsMax, SnapshotEntries, TickMs, TokenSeconds,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// This node.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// The number of this node, different on every node of a cluster and never used again for
    /// another machine: it is in the identifier of every call. Two nodes with one number
    /// would give two calls one identifier.
    pub id: NodeNumber,
    /// The folder of everything that this node keeps: log, state, records, recordings. The
    /// disk behind it decides how fast calls are set up, since every change is synced.
    pub data: PathBuf,
    /// How long a node that is told to stop waits for its calls to end; new ones are refused
    /// meanwhile. 30 s lets short calls end. 0 ends calls at once; an hour delays an upgrade.
    pub drain_seconds: DrainSeconds,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            id: NodeNumber::of::<1>(),
            data: PathBuf::from("data"),
            drain_seconds: DrainSeconds::of::<30>(),
        }
    }
}

/// Signalling.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sip {
    /// Addresses on which SIP is received over UDP. Loopback by default: a node that is
    /// reachable by strangers is dialled by strangers within minutes.
    pub udp: Vec<SocketAddr>,
    /// Addresses on which SIP is received over TCP.
    pub tcp: Vec<SocketAddr>,
    /// The address written into Contact, Via and SDP where it differs from the one listened
    /// on: behind a translating router, or when listening on 0.0.0.0. A wrong one lets calls
    /// begin and then gives silence.
    pub advertised: Option<IpAddr>,
    /// The realm of digest authentication. Phones store passwords under it, so a change makes
    /// those that keep only a hash register anew.
    pub realm: String,
    /// The algorithms of digest challenges, all of them in each challenge. `md5` alone by
    /// default: many phones in use, baresip 1.0 among them, fail at a challenge that also names
    /// SHA-256 instead of choosing what they know (RFC 8760 §2.4). Add `sha-256` when all phones
    /// know it; leave `md5` out then, for whoever overhears a registration can guess passwords.
    pub digest: Vec<Digest>,
    /// The longest registration that is granted. 300 s finds a phone that vanished within
    /// five minutes; 60 s costs every phone a message a minute.
    pub register_seconds_max: RegisterSeconds,
    /// The session interval that is asked for (RFC 4028). After it, a call whose far end died
    /// without a BYE ends. 1800 s is the RFC's recommendation; 90 s refreshes twenty times as
    /// often.
    pub session_seconds: SessionSeconds,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            udp: vec![SocketAddr::new(LOOPBACK, 5060)],
            tcp: vec![SocketAddr::new(LOOPBACK, 5060)],
            advertised: None,
            realm: "tandem".to_owned(),
            digest: vec![Digest::Md5],
            register_seconds_max: RegisterSeconds::of::<300>(),
            session_seconds: SessionSeconds::of::<1800>(),
        }
    }
}

/// An algorithm of digest authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Digest {
    /// MD5 (RFC 2617): what every phone knows.
    Md5,
    /// SHA-256 (RFC 7616, RFC 8760).
    #[serde(rename = "sha-256")]
    Sha256,
}

/// HTTP API and the agents' WebSocket.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where HTTP and WebSocket are served. Without TLS: put a proxy in front of it before it
    /// leaves loopback.
    pub listen: SocketAddr,
    /// How long a token holds after a login. 900 s; a stolen token is good for that long, a
    /// client logs in again that often. A WebSocket that is open stays open.
    pub token_seconds: TokenSeconds,
    /// Wrong passwords in a row after which a name is locked. Fewer lock people out who type
    /// badly; more help those who guess.
    pub login_failures_max: LoginFailures,
    /// How long a name stays locked.
    pub lock_seconds: LockSeconds,
    /// WebSocket clients of this node at a time; one more is refused with 503.
    pub sessions_max: SessionsMax,
    /// How long an agent whose client vanished stays signed in, waiting for it to come back
    /// here or on another node. 15 s covers a reload of a page and a fail-over; longer offers
    /// calls to someone who is gone.
    pub session_grace_seconds: GraceSeconds,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 8080),
            token_seconds: TokenSeconds::of::<900>(),
            login_failures_max: LoginFailures::of::<10>(),
            lock_seconds: LockSeconds::of::<60>(),
            sessions_max: SessionsMax::of::<5_000>(),
            session_grace_seconds: GraceSeconds::of::<15>(),
        }
    }
}

/// A codec by its name in SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 µ-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
    /// G.722, 16 kHz, static payload type 9.
    G722,
    /// Opus, 48 kHz (RFC 7587).
    Opus,
}

/// Audio.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// The address on which audio is received; without it, that of the first SIP address.
    pub address: Option<IpAddr>,
    /// The first port for audio. A leg takes two ports, so 40000–59999 is 10,000 legs.
    pub rtp_port_min: RtpPort,
    /// The last port for audio.
    pub rtp_port_max: RtpPort,
    /// Threads that move packets. Two move 1,500 relayed calls each; more than the machine
    /// has cores only adds switches between them.
    pub threads: MediaThreads,
    /// Codecs that are offered and accepted, the preferred one first. Callers and agents with
    /// one codec in common are relayed without decoding.
    pub codecs: Vec<Codec>,
    /// Whether key tones are also looked for in the audio of peers without telephone-event
    /// (RFC 4733). It costs decoding while an IVR listens.
    pub in_band_dtmf: bool,
    /// The WAV file that waiting and held callers hear; without it, a built-in melody.
    pub music: Option<PathBuf>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: None,
            rtp_port_min: RtpPort::of::<40_000>(),
            rtp_port_max: RtpPort::of::<59_999>(),
            threads: MediaThreads::of::<2>(),
            codecs: vec![Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus],
            in_band_dtmf: true,
            music: None,
        }
    }
}

/// The nodes that keep the state together. Without members, this node keeps it alone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Where this node receives the others; needed with members. Until mutual TLS is
    /// configured, on a network of your own only.
    pub listen: Option<SocketAddr>,
    /// What the nodes prove to each other that they know, and from which the keys of the
    /// API's tokens are derived. The same on every node, 16 bytes at least. Prefer
    /// `secret_file`.
    #[serde(skip_serializing)]
    pub secret: Option<Secret>,
    /// A file that holds the secret in its first line.
    pub secret_file: Option<PathBuf>,
    /// This node has a new data directory and waits to be added to the cluster of the members,
    /// instead of beginning one with them. Without effect once it has been added.
    pub join: bool,
    /// The code that `tandem recover` gave when the cluster was recovered without its majority; the
    /// same on every node from then on. Nodes that do not know it belong to the cluster as it was
    /// before and are refused.
    pub recovery: Option<Name>,
    /// One tick of Raft. 25 ms; with 12 ticks without a leader an election begins after about
    /// 300 ms. Below 20 ms a busy machine holds elections for nothing.
    pub tick_ms: TickMs,
    /// Ticks without a leader before an election.
    pub election_ticks: ElectionTicks,
    /// Entries of the log between two snapshots. Fewer write snapshots more often; more make
    /// a restart read a longer log.
    pub snapshot_entries: SnapshotEntries,
    /// Every node of the cluster, this one too.
    pub member: Vec<Member>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            listen: None,
            secret: None,
            secret_file: None,
            join: false,
            recovery: None,
            tick_ms: TickMs::of::<25>(),
            election_ticks: ElectionTicks::of::<12>(),
            snapshot_entries: SnapshotEntries::of::<50_000>(),
            member: Vec::new(),
        }
    }
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its `node.id`.
    pub id: NodeNumber,
    /// Its `cluster.listen`.
    pub address: SocketAddr,
    /// Its `http.listen`, told to clients so that they go on there when this node dies. The other
    /// nodes copy recordings there; a node without it gets none and gives none.
    pub http: Option<SocketAddr>,
    /// Where it stands. The calls of a lost node go to a node of the same site as long as there is
    /// one. The same on every node; all members without a site are together at one more.
    pub site: Option<Name>,
    /// What it is there for. The same on every node.
    #[serde(default)]
    pub role: MemberRole,
}

/// What a node of the cluster is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRole {
    /// It has calls and desks.
    #[default]
    Calls,
    /// It votes and keeps log, state and records, so that one of two machines may be lost. It has
    /// no calls, no desks and no service address, and opens no port for SIP or audio.
    Witness,
}

/// How much is taken on before new calls are refused with 503 and Retry-After. Calls in progress
/// are never touched by these. A node that falls behind refuses new calls by itself, whatever
/// stands here.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls of this node at a time. 5,000 is 10,000 legs, what the default ports can carry.
    /// A call that has ended does not count, even while its last response is repeated.
    pub calls_max: CallsMax,
    /// Space left on the disk of `node.data` below which new calls are refused, so that those
    /// in progress can still be written down. Below 256 MB they are refused whatever stands here:
    /// the log needs that.
    pub disk_free_mb_min: Megabytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls_max: CallsMax::of::<5_000>(), disk_free_mb_min: Megabytes::of::<64>() }
    }
}

/// Who is told alarms, beside the log, the metrics and supervisors. What alarms there are stands in
/// `docs/operations.md`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alarms {
    /// A web service that gets a POST when an alarm begins and when it ends; without it none does.
    /// It may hold a token, so it is not written to the log.
    pub webhook: Option<HttpUrl>,
    /// What the messages are signed with, in the header `Tandem-Signature`; without it they are
    /// not. 16 bytes at least. Prefer `secret_file`.
    #[serde(skip_serializing)]
    pub secret: Option<Secret>,
    /// A file that holds the secret in its first line.
    pub secret_file: Option<PathBuf>,
    /// How long the web service may take to answer before the message is sent again.
    pub timeout_seconds: AnswerSeconds,
}

impl Default for Alarms {
    fn default() -> Self {
        Self {
            webhook: None,
            secret: None,
            secret_file: None,
            timeout_seconds: AnswerSeconds::of::<5>(),
        }
    }
}

/// IVR flows.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flows {
    /// The folder of flow files; `demo.toml` in it is the flow `demo`.
    pub directory: PathBuf,
    /// How often the folder is looked at for changed files. Calls in progress finish on the
    /// flow that they began with.
    pub reload_seconds: ReloadSeconds,
}

impl Default for Flows {
    fn default() -> Self {
        Self { directory: PathBuf::from("flows"), reload_seconds: ReloadSeconds::of::<2>() }
    }
}

/// Recorded prompts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prompts {
    /// The folder of WAV files that flows play by name.
    pub directory: PathBuf,
}

impl Default for Prompts {
    fn default() -> Self {
        Self { directory: PathBuf::from("prompts") }
    }
}

/// Speech synthesis for prompts that are given as text.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Speech {
    /// The program that speaks; looked up in PATH.
    pub command: PathBuf,
    /// The voice for each language that flows name.
    pub voices: BTreeMap<String, String>,
    /// The most that spoken prompts may take in `node.data`/speech; the oldest go first.
    pub cache_mb_max: Megabytes,
}

impl Default for Speech {
    fn default() -> Self {
        let voices = [("en", "en-us"), ("zh", "cmn-latn-pinyin")];
        Self {
            command: PathBuf::from("espeak-ng"),
            voices: voices.map(|(language, voice)| (language.into(), voice.into())).into(),
            cache_mb_max: Megabytes::of::<256>(),
        }
    }
}

/// Recordings of calls.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// The folder of recordings; without it, `recordings` in `node.data`.
    pub directory: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Logging, to standard error.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is written: a level, or levels by module as in `info,tandem::actors=debug`. The
    /// environment variable TANDEM_LOG replaces it. Below `info`, numbers of callers and SIP
    /// messages are written.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}
