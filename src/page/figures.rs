//! Figures as people read them.

use lopper_models::data::thousands;

/// A share as percent, with the number of decimals that its images support.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A count with separators.
pub fn count(value: u64) -> String {
    thousands(value)
}

/// Milliseconds with three digits.
pub fn ms(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v => format!("{v:.1}"),
    }
}

/// A duration.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:02.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

/// Bytes.
pub fn bytes(value: u64) -> String {
    match value as f64 {
        v if v < 1e6 => format!("{:.0} kB", v / 1e3),
        v if v < 1e9 => format!("{:.1} MB", v / 1e6),
        v => format!("{:.2} GB", v / 1e9),
    }
}

/// The change from `before` to `after`, as a factor or in percent.
pub fn change(before: f64, after: f64) -> String {
    let ratio = after / before;
    match ratio {
        r if !r.is_finite() => "–".into(),
        r if (0.995..1.005).contains(&r) => "=".into(),
        r if r < 1.0 => format!("−{:.0} %", 100.0 * (1.0 - r)),
        r => format!("+{:.0} %", 100.0 * (r - 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0.873, 5.126, 84.31].map(ms), ["0.873", "5.13", "84.3"]);
        assert_eq!([12.34, 75.0, 7321.0].map(duration), ["12.3 s", "1 min 15 s", "2 h 02 min"]);
        assert_eq!([865_000, 44_783_000, 2_500_000_000].map(bytes), ["865 kB", "44.8 MB", "2.50 GB"]);
        assert_eq!(
            [(2.0, 1.0), (1.0, 1.5), (1.0, 1.001), (0.0, 1.0)].map(|(a, b)| change(a, b)),
            ["−50 %", "+50 %", "=", "–"]
        );
        assert_eq!((percent(0.55625), count(134_309_962)), ("55.62 %".into(), "134,309,962".into()));
    }
}
