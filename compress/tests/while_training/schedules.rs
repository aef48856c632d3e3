//! Schedules: their shares by fasterai's definitions, tables of one's own, and what training makes of those that fall.

use lopper_compress::sparsify::{SparsifyConfig, SparsitySchedule};
use std::f64::consts::PI;

/// The definitions of fasterai 0.3.2 (`fasterai/core/schedule.py`), from `start` to `end` at position `pos`.
fn fasterai(name: &str, start: f64, end: f64, pos: f64) -> f64 {
    match name {
        "one_shot" => end,
        "iterative:3" => start + (end - start) / 3.0 * (pos * 3.0).ceil(),
        "gradual" => end + (start - end) * (1.0 - pos).powi(3),
        "one_cycle" => {
            let out = (1.0 + (-14.0_f64 + 6.0).exp()) / (1.0 + (-14.0 * pos + 6.0).exp());
            start + (end - start) * out
        }
        "cosine" => start + (1.0 + (PI * (1.0 - pos)).cos()) * (end - start) / 2.0,
        "linear" => start + pos * (end - start),
        "cosine_dsd" if pos < 0.5 => start + (1.0 + (PI * (1.0 - pos * 2.0)).cos()) * (end - start) / 2.0,
        "cosine_dsd" => end + (1.0 - (PI * (1.0 - pos * 2.0)).cos()) * (start - end) / 2.0,
        other => panic!("{other}"),
    }
}

#[test]
fn shares_are_those_of_fasterai() {
    for name in ["one_shot", "iterative:3", "gradual", "one_cycle", "cosine", "linear", "cosine_dsd"] {
        let schedule: SparsitySchedule = name.parse().unwrap();
        for i in 0..=60 {
            let pos = f64::from(i) / 60.0;
            let (found, expected) = (0.8 * schedule.share(pos), fasterai(name, 0.0, 0.8, pos));
            assert!((found - expected).abs() < 1e-12, "{name} at {pos}: {found}, {expected}");
        }
        // Within a window: nothing before it, and the end's value behind it.
        let config = SparsifyConfig { schedule, start: 0.2, end: 0.6, ..SparsifyConfig::new(0.8) };
        for (fraction, expected) in [
            (0.1, 0.0),
            (0.4, fasterai(name, 0.0, 0.8, 0.5)),
            (0.6, fasterai(name, 0.0, 0.8, 1.0)),
            (0.9, fasterai(name, 0.0, 0.8, 1.0)),
        ] {
            assert!((config.sparsity_at(fraction).unwrap() - expected).abs() < 1e-12, "{name} at {fraction}");
        }
    }
}

#[test]
fn exponential_is_its_formula() {
    let schedule = SparsitySchedule::Exponential { rate: 3.0 };
    for x in [0.0, 0.25, 0.5, 1.0_f64] {
        let expected = (1.0 - (-3.0 * x).exp()) / (1.0 - (-3.0_f64).exp());
        assert!((schedule.share(x) - expected).abs() < 1e-12);
    }
}

/// The paper's 100 epochs: dense for 10, sparse and dense in turn, sparse from 85 on.
#[test]
fn ac_dc_alternates_between_its_ends() {
    let schedule = SparsitySchedule::AcDc { phases: 3, first: 0.1, last: 0.15 };
    let shares: String =
        (0..20).map(|i| if schedule.share(f64::from(i) / 20.0 + 0.01) > 0.5 { '1' } else { '0' }).collect();
    // 75 epochs in six phases of 12.5, from the tenth on.
    assert_eq!(shares, "00111001110011100111");
    assert_eq!(schedule.share(1.0), 1.0);
    assert!(schedule.falls());
}

#[test]
fn a_table_holds_each_share_until_the_next_time() {
    let read = |text: &str| toml::from_str::<SparsifyConfig>(&format!("sparsity = 0.5\nschedule = {text}"));
    let table = read("{ table = [[0.1, 0.5], [0.6, 1.0]] }").unwrap().schedule;
    assert_eq!(table, "table:0.1=0.5,0.6=1".parse().unwrap());
    let shares = [0.0, 0.1, 0.59, 0.6, 1.0].map(|x| table.share(x));
    assert_eq!(shares, [0.0, 0.5, 0.5, 1.0, 1.0]);
    assert!(!table.falls() && SparsitySchedule::Table(vec![[0.0, 1.0], [0.5, 0.2]]).falls());
    for (points, words) in [
        ("[]", "expected at least one [time, share]"),
        ("[[0.5, 2.0]]", "in [0, 1], found [0.5, 2]"),
        ("[[0.5, 0.1], [0.5, 0.2]]", "ascending times, found 0.5 before 0.5"),
    ] {
        let error = read(&format!("{{ table = {points} }}")).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (text, words) in [
        ("{ exponential = { rate = 0 } }", "expected a rate"),
        ("{ ac_dc = { phases = 0 } }", "at least 1 phase"),
        ("{ ac_dc = { phases = 2, first = 0.9, last = 0.2 } }", "less than 1 together"),
    ] {
        let error = read(text).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(read("{ ac_dc = { phases = 2, second = 0.9 } }").is_err(), "unknown keys are refused");
}
