//! During a takeover a second machine ends, once after every output of its driver: what was said
//! and what was written before that must be enough.

use chaos_tests::{Plan, Schedule, World, replay, secs};

/// Calls of all kinds, of which the busiest machine serves the most, and the fault that it has.
const CALLS: &str = "storm seed=SEED nodes=3 time=16000000 lost=0 desks=ana,bob,dan,eve
at=2000000 call caller=1 node=2 number=sales
at=2100000 call caller=2 node=2 number=menu
at=2200000 call caller=3 node=2 number=sales
at=3000000 call caller=4 node=1 number=support
at=4000000 call caller=5 node=3 number=quiet
at=5500000 call caller=6 node=2 number=eve
at=7500000 call caller=7 node=2 number=sales
at=8800000 call caller=8 node=2 number=menu
at=9000000 FIRST
at=12500000 join
";

const FIRST: u64 = secs(9);

/// Outputs are counted for so long after the first fault: until its calls are served again, and
/// those of a machine that comes back have gone back.
const WINDOW: u64 = secs(5);

/// Of the outputs, so many are left out between two that are tried, unless it is a long run.
const STRIDE: u64 = 9;

#[test]
fn a_second_machine_may_end_after_every_output_of_a_takeover() {
    let firsts = [
        "end node=busiest how=process down=3000000",
        "end node=leader how=power left=0 cache=false down=2500000",
        "freeze node=busiest time=2600000",
        "suspend node=busiest time=2000000",
        "part node=busiest ways=both",
        "part node=leader ways=sends",
        "slow-disk node=leader write=400000 time=3000000",
    ];
    let is_long = std::env::var("TANDEM_SEEDS").is_ok_and(|seeds| seeds.len() > 3);
    let stride = if is_long { 1 } else { STRIDE };
    let mut tried = 0;
    for (seed, first) in (1..).zip(firsts) {
        let calls = CALLS.replace("SEED", &seed.to_string()).replace("FIRST", first);
        let counts = outputs(&calls);
        assert!(counts.iter().all(|count| *count > 40), "{first}: {counts:?} outputs");
        for (node, count) in (1..).zip(counts) {
            for outputs in (1 + (seed + node) % stride..=count).step_by(stride as usize) {
                tried += 1;
                ends_after(&calls, node, outputs);
            }
        }
    }
    assert!(tried > 100, "{tried} boundaries");
}

/// How many outputs each driver has from the first fault on.
fn outputs(calls: &str) -> [u64; 3] {
    let mut world = World::new(Plan::of(&Schedule::parse(calls).expect("it is a schedule")));
    world.run_for(FIRST).expect("all claims hold");
    let before = [1, 2, 3].map(|node| world.outputs(node));
    world.run_for(WINDOW).expect("all claims hold");
    [1, 2, 3].map(|node| world.outputs(node) - before[node as usize - 1])
}

fn ends_after(calls: &str, node: u64, outputs: u64) {
    let how = match outputs % 4 {
        0 => "process".to_owned(),
        left => format!("power left={} cache={}", left - 1, outputs.is_multiple_of(8)),
    };
    let at = FIRST + 1;
    let step = format!("at={at} end-after node={node} outputs={outputs} how={how} down=1200000\n");
    let text = format!("{calls}{step}");
    let schedule = Schedule::parse(&text).expect("it is a schedule");
    if let Err(failure) = replay::play(&schedule) {
        panic!("{}\n{text}", replay::describe(&Plan::of(&schedule), schedule.time, &failure));
    }
}
