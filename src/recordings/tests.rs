//! Recordings of one node and of three: parts joined, cut by crashes, copied and fetched.

use std::fs;

use tandem_center::Directory;
use tandem_media::wav::{self, PART_HEADER_BYTES, Stamp};
use tokio::time::sleep;

use super::keeper::{checksum, repair};
use super::*;
use crate::api::memory::MemoryBackend;
use crate::api::token::TokenKey;
use crate::api::{ApiConfig, ApiHandle, serve};
use crate::config::sections::Http;
use crate::metrics::Metrics;

const BEGAN: u64 = 1_780_000_000_000;

/// Samples of both channels that are never 0.
fn voice(frames: usize, seed: i16) -> Vec<i16> {
    (0..frames * 2).map(|n| (n as i16).wrapping_mul(seed).wrapping_add(seed) | 1).collect()
}

fn file_of(rate_hz: u32, stamp: &Stamp, pcm: &[i16]) -> Vec<u8> {
    let mut file = wav::part_header(rate_hz, 2, pcm.len() as u64 * 2, stamp).to_vec();
    file.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// A part of recording `r`, written by this node at this time.
fn part(folder: &Path, name: &str, (node, began_ms): (u64, u64), rate_hz: u32, pcm: &[i16]) {
    let epoch = PartId::parse(name).unwrap().epoch;
    let stamp = Stamp { node, epoch, began_ms };
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), file_of(rate_hz, &stamp, pcm)).unwrap();
}

async fn whole(download: &Download) -> Vec<u8> {
    let mut file = Vec::new();
    loop {
        let read = download.read(file.len() as u64, 10_007).await.unwrap();
        if read.is_empty() {
            return file;
        }
        file.extend(read);
    }
}

fn r() -> RecordingId {
    RecordingId("r".into())
}

/// One node over this folder, with what lies there made complete.
async fn alone(folder: &Path) -> Arc<Recordings> {
    let (recordings, chores) = Recordings::open(1, folder.join("r"), folder, None).unwrap();
    let names: Vec<_> = chores.left.iter().map(ToString::to_string).collect();
    tokio::spawn(Arc::clone(&recordings).keep(chores));
    let all_are_known = || {
        let known = recordings.index.complete_here().unwrap();
        names.iter().all(|name| known.contains(name) || !folder.join("r").join(name).exists())
    };
    until(all_are_known).await;
    recordings
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s");
}

#[tokio::test]
async fn parts_of_two_nodes_are_one_file_with_the_gap_between_them_marked() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (voice(8_000, 3), voice(4_000, 5));
    part(&folder.path().join("r"), "r.0.wav", (1, BEGAN), 8_000, &before);
    // Node 1 died; node 2 heard the first packet 1.74 s after the first part began.
    part(&folder.path().join("r"), "r.1.wav", (2, BEGAN + 1_740), 8_000, &after);
    let recordings = alone(folder.path()).await;
    let download = recordings.get(&r()).await.unwrap();
    let gap = Gap { at_ms: 1_000, length_ms: 740, reason: GapReason::Takeover };
    assert_eq!(download.gaps(), [gap]);
    let file = whole(&download).await;
    assert_eq!(file.len() as u64, download.bytes());
    let audio = wav::read(&file).unwrap();
    assert_eq!((audio.rate_hz(), audio.channels()), (8_000, 2));
    let silence = vec![0; 5_920 * 2];
    assert_eq!(audio.samples(), [&before[..], &silence, &after].concat());
    let said = b"began_ms=1780000000000 gap=1000+740:takeover";
    assert!(file[..200].windows(said.len()).any(|words| words == said), "the file says so itself");
}

#[tokio::test]
async fn a_pause_in_one_epoch_is_a_gap_and_parts_that_overlap_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("r");
    let parts = [voice(8_000, 3), voice(800, 5), voice(800, 7)];
    part(&place, "r.0.wav", (1, BEGAN), 8_000, &parts[0]);
    part(&place, "r.0.2.wav", (1, BEGAN + 61_000), 8_000, &parts[1]);
    // The clock of node 2 is behind.
    part(&place, "r.1.wav", (2, BEGAN + 60_000), 8_000, &parts[2]);
    let recordings = alone(folder.path()).await;
    let download = recordings.get(&r()).await.unwrap();
    let gap = Gap { at_ms: 1_000, length_ms: 60_000, reason: GapReason::Pause };
    assert_eq!(download.gaps(), [gap]);
    let audio = wav::read(&whole(&download).await).unwrap();
    assert_eq!(audio.frames(), 8_000 + 60 * 8_000 + 800 + 800);
    assert!(audio.samples().ends_with(&parts.concat()[8_000 * 2..]));
}

#[tokio::test]
async fn every_range_of_a_file_of_two_rates_is_what_the_whole_file_has_there() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("r");
    let (narrow, wide) = (voice(50, 3), voice(40, 5));
    part(&place, "r.0.wav", (1, BEGAN), 8_000, &narrow);
    part(&place, "r.1.wav", (2, BEGAN + 10), 16_000, &wide);
    let recordings = alone(folder.path()).await;
    let download = recordings.get(&r()).await.unwrap();
    let file = whole(&download).await;
    let audio = wav::read(&file).unwrap();
    assert_eq!((audio.rate_hz(), audio.frames()), (16_000, 2 * 50 + 60 + 40));
    for frame in 0..50 {
        assert_eq!(audio.samples()[4 * frame], narrow[2 * frame], "every other frame is as it was");
    }
    for from in 0..file.len() {
        for length in [1, 2, 3, 5, 8, 64] {
            let read = download.read(from as u64, length).await.unwrap();
            assert!(!read.is_empty() && file[from..].starts_with(&read), "{length} at {from}");
        }
    }
    assert!(download.read(file.len() as u64, 1).await.unwrap().is_empty());
}

#[test]
fn a_file_that_was_cut_anywhere_is_repaired_to_all_whole_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.0.wav");
    let pcm = voice(100, 3);
    let stamp = Stamp { node: 1, epoch: 0, began_ms: BEGAN };
    let mut file = file_of(8_000, &stamp, &pcm);
    // The header tells of less than there is.
    file[..PART_HEADER_BYTES].copy_from_slice(&wav::part_header(8_000, 2, 8, &stamp));
    for cut in 0..=file.len() {
        fs::write(&path, &file[..cut]).unwrap();
        let header = repair(&path).unwrap();
        if cut < PART_HEADER_BYTES {
            assert!(header.is_none() && !path.exists(), "nothing is left of {cut} bytes");
            continue;
        }
        let left = fs::read(&path).unwrap();
        assert_eq!(header.unwrap().file_bytes(), left.len() as u64);
        let samples = (cut - PART_HEADER_BYTES) / 4 * 2;
        assert_eq!(wav::read(&left).unwrap().samples(), &pcm[..samples], "{cut}");
    }
    fs::write(&path, vec![0; 1_000]).unwrap();
    assert!(repair(&path).unwrap().is_none());
    assert!(folder.path().join("r.0.damaged").exists(), "what is no part is set aside");
}

#[tokio::test]
async fn what_is_being_written_is_served_as_far_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = alone(folder.path()).await;
    assert_eq!(recordings.get(&r()).await.unwrap_err(), NoRecording::Nobody);
    let pcm = voice(800, 3);
    part(&folder.path().join("r"), "r.0.wav", (1, BEGAN), 8_000, &pcm[..160]);
    let path = recordings.path(&PartId::first(&r(), 0));
    let key = tandem_media::port::PortKey { call: 1, leg: 0 };
    recordings.hear(&PortEvent::RecordingBegan { key, path: path.clone() });
    until(|| recordings.known("r").unwrap().len() == 1).await;
    let before = recordings.get(&r()).await.unwrap();
    part(&folder.path().join("r"), "r.0.wav", (1, BEGAN), 8_000, &pcm);
    let after = recordings.get(&r()).await.unwrap();
    assert_ne!(before.etag(), after.etag());
    assert_eq!(wav::read(&whole(&after).await).unwrap().samples(), pcm);
    assert_eq!(after.parts()[0].sha256, None);
    recordings.hear(&PortEvent::RecordingEnded { key, path: path.clone() });
    until(|| recordings.known("r").unwrap()[0].sha256.is_some()).await;
    assert_eq!(recordings.known("r").unwrap()[0].sha256, checksum(&path).ok());
}

/// Three nodes: their HTTP servers and their recordings, without telephony.
struct Site {
    folder: tempfile::TempDir,
    nodes: Vec<(ApiHandle, Arc<MemoryBackend>)>,
    members: Vec<(u64, Option<SocketAddr>)>,
}

impl Site {
    fn new() -> Self {
        let nodes: Vec<_> = (1..=3)
            .map(|_| {
                let listen = SocketAddr::from(([127, 0, 0, 1], 0));
                let backend = MemoryBackend::new(Directory::default()).unwrap();
                let config = ApiConfig { listen, ..ApiConfig::from(&Http::default()) };
                let key = TokenKey::random();
                (serve(config, backend.clone(), Metrics::new(), key).unwrap(), backend)
            })
            .collect();
        let members = nodes.iter().zip(1..).map(|((api, _), id)| (id, Some(api.address)));
        let members = members.collect();
        Self { folder: tempfile::tempdir().unwrap(), nodes, members }
    }

    fn place(&self, node: u64) -> PathBuf {
        self.folder.path().join(node.to_string()).join("r")
    }

    fn starts(&self, node: u64) -> Arc<Recordings> {
        let key = PeerKey::from_secret(b"secret of the cluster");
        let cluster = Cluster { members: self.members.clone(), key };
        let data = self.folder.path().join(node.to_string());
        fs::create_dir_all(&data).unwrap();
        let opened = Recordings::open(node, self.place(node), &data, Some(cluster));
        let (recordings, chores) = opened.unwrap();
        self.nodes[node as usize - 1].1.serve_recordings(Arc::clone(&recordings));
        tokio::spawn(Arc::clone(&recordings).keep(chores));
        recordings
    }
}

#[tokio::test]
async fn a_part_that_a_crash_left_is_copied_and_the_copy_serves_when_the_first_is_gone() {
    let site = Site::new();
    let pcm = voice(400_000, 3);
    part(&site.place(1), "r.0.wav", (1, BEGAN), 8_000, &pcm);
    let (two, three) = (site.starts(2), site.starts(3));
    let one = site.starts(1);
    until(|| one.copies() == (1, 0)).await;
    let copy = site.place(2).join("r.0.wav");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(site.place(1).join("r.0.wav")).unwrap());
    until(|| three.known("r").unwrap().iter().any(|part| part.places == [1, 2].into())).await;

    // The disk of node 1 is gone, and node 1 with it.
    fs::remove_dir_all(site.place(1)).unwrap();
    site.nodes[0].0.stop().await;
    for recordings in [&two, &three] {
        let download = recordings.get(&r()).await.unwrap();
        assert_eq!(wav::read(&whole(&download).await).unwrap().samples(), pcm);
        assert_eq!(download.parts()[0].sha256, checksum(&copy).ok());
    }

    // Node 2, too: node 3 knows who has it, and that it does not have it itself.
    site.nodes[1].0.stop().await;
    let down = NoRecording::Down { part: "r.0.wav".into(), nodes: [1, 2].into() };
    assert_eq!(three.get(&r()).await.unwrap_err(), down);
    let other = RecordingId("other".into());
    assert_eq!(three.get(&other).await.unwrap_err(), NoRecording::Unsure(vec![1, 2]));
}

#[tokio::test]
async fn a_copy_goes_on_where_it_stopped_and_is_taken_only_with_the_right_checksum() {
    let site = Site::new();
    let pcm = voice(700_000, 3);
    part(&site.place(1), "r.0.wav", (1, BEGAN), 8_000, &pcm);
    let file = fs::read(site.place(1).join("r.0.wav")).unwrap();
    let two = site.starts(2);
    // Two megabytes came over before node 2 was restarted; they are right.
    fs::create_dir_all(two.incoming()).unwrap();
    fs::write(two.incoming().join("r.0.wav"), &file[..2 << 20]).unwrap();
    let (one, chores) = {
        let cluster = Cluster {
            members: site.members.clone(),
            key: PeerKey::from_secret(b"secret of the cluster"),
        };
        let data = site.folder.path().join("1");
        Recordings::open(1, site.place(1), &data, Some(cluster)).unwrap()
    };
    site.nodes[0].1.serve_recordings(Arc::clone(&one));
    let part = one.seal(&chores.left[0]).unwrap();
    two.fetch(1, part.clone()).await.unwrap();
    assert_eq!(fs::read(site.place(2).join("r.0.wav")).unwrap(), file);
    assert_eq!(two.keep_copy(1, part.clone()).await, Keeps::Yes);

    // A partial copy that is not of this file: it is thrown away, and the next attempt is good.
    let other = Part { id: PartId::parse("r.5.wav").unwrap(), ..part };
    fs::copy(one.path(&part_id("r.0.wav")), one.path(&other.id)).unwrap();
    fs::write(two.incoming().join("r.5.wav"), vec![7; 1 << 20]).unwrap();
    assert!(two.fetch(1, other.clone()).await.is_err());
    assert!(!two.path(&other.id).exists());
    two.fetch(1, other.clone()).await.unwrap();
    assert_eq!(fs::read(two.path(&other.id)).unwrap(), file);
}

fn part_id(name: &str) -> PartId {
    PartId::parse(name).unwrap()
}

#[tokio::test]
async fn while_no_node_takes_a_copy_the_part_waits_and_the_next_node_gets_it() {
    let site = Site::new();
    part(&site.place(1), "r.0.wav", (1, BEGAN), 8_000, &voice(800, 3));
    let (two, three) = (site.starts(2), site.starts(3));
    two.set_full(true);
    let one = site.starts(1);
    until(|| one.copies() == (1, 0)).await;
    assert!(!two.path(&part_id("r.0.wav")).exists(), "its disk is full");
    assert!(three.path(&part_id("r.0.wav")).exists());
}

#[tokio::test]
async fn many_parts_that_end_at_once_are_all_copied_without_a_refusal() {
    let site = Site::new();
    for epoch in 0..100 {
        part(&site.place(1), &format!("r.{epoch}.wav"), (1, BEGAN), 8_000, &voice(800, 3));
    }
    let (two, three) = (site.starts(2), site.starts(3));
    let one = site.starts(1);
    until(|| one.copies() == (100, 0)).await;
    let copies = |node: &Recordings| node.index.complete_here().unwrap().len();
    assert_eq!((copies(&two), copies(&three)), (100, 0), "nobody had to go elsewhere");
}

#[tokio::test]
async fn a_part_of_a_node_that_left_the_cluster_is_marked_as_lost() {
    let site = Site::new();
    let parts = [voice(8_000, 3), voice(8_000, 7)];
    part(&site.place(1), "r.0.wav", (1, BEGAN), 8_000, &parts[0]);
    part(&site.place(1), "r.2.wav", (1, BEGAN + 3_000), 8_000, &parts[1]);
    let one = site.starts(1);
    let lost = Part {
        id: part_id("r.1.wav"),
        node: 9,
        began_ms: BEGAN + 1_500,
        rate_hz: 8_000,
        bytes: 144,
        sha256: None,
        places: [9].into(),
    };
    one.told(lost).unwrap();
    until(|| one.known("r").unwrap().len() == 3).await;
    let download = one.get(&r()).await.unwrap();
    let gap = Gap { at_ms: 1_000, length_ms: 2_000, reason: GapReason::Lost };
    assert_eq!(download.gaps(), [gap]);
}

#[tokio::test]
async fn strangers_are_told_nothing_and_change_nothing() {
    let site = Site::new();
    part(&site.place(1), "r.0.wav", (1, BEGAN), 8_000, &voice(800, 3));
    let one = site.starts(1);
    let address = site.members[0].1.unwrap();
    let client = reqwest::Client::new();
    let stranger = PeerKey::from_secret(b"secret of another");
    for target in ["/node/v1/recordings/r", "/node/v1/parts/r.0.wav?from=0&bytes=100"] {
        let signature =
            stranger.sign(2, crate::node::unix_ms(), &Asked { method: "GET", target, body: b"" });
        for signature in [String::new(), "Node 2.0.00".into(), signature] {
            let request = client.get(format!("http://{address}{target}"));
            let answer = request.header("authorization", signature).send().await.unwrap();
            assert_eq!(answer.status(), 401);
        }
    }
    let post = client.post(format!("http://{address}/node/v1/told")).body("{}");
    assert_eq!(post.send().await.unwrap().status(), 401);
    assert_eq!(one.known("other").unwrap(), []);
}
