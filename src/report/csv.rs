//! The rows as CSV.

use super::Row;

/// Formats the rows as CSV, with plain figures in the units of [`Row`]. A missing figure is an empty field.
///
/// # Errors
/// Those of writing to memory.
pub fn csv(rows: &[Row]) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "stage",
        "what",
        "top1",
        "top1_low",
        "top1_high",
        "params",
        "macs",
        "bytes",
        "latency_ms",
        "latency_low_ms",
        "latency_high_ms",
        "logit_difference",
        "seconds",
    ])?;
    let figure = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
    for row in rows {
        writer.write_record([
            row.stage.clone(),
            row.what.clone(),
            figure(row.top1),
            figure(row.interval.map(|(low, _)| low)),
            figure(row.interval.map(|(_, high)| high)),
            row.params.to_string(),
            row.macs.to_string(),
            row.bytes.to_string(),
            row.latency_ms.to_string(),
            row.latency_quartiles_ms.0.to_string(),
            row.latency_quartiles_ms.1.to_string(),
            row.logit_difference.map_or(String::new(), |d| d.to_string()),
            row.seconds.to_string(),
        ])?;
    }
    writer.into_inner().map_err(|e| e.into_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_figures_are_plain_numbers() {
        let row = Row {
            stage: "baseline".into(),
            what: "vgg16_bn, 5 epochs".into(),
            params: 134_309_962,
            macs: 5_130_000_000,
            bytes: 537_000_000,
            latency_ms: 52.5,
            latency_quartiles_ms: (50.0, 53.5),
            logit_difference: Some(0.5),
            seconds: 12.0,
            ..Row::default()
        };
        let text = String::from_utf8(csv(&[row]).unwrap()).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "baseline,\"vgg16_bn, 5 epochs\",,,,134309962,5130000000,537000000,52.5,50,53.5,0.5,12"
        );
    }
}
