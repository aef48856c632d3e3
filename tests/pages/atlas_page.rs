//! The atlas page in a browser: it draws its charts, without errors and without network access, and the pickers and the
//! keyboard work.

use crate::browser::{pixels, run, view};
use lopper::atlas::{Row, page};

/// A name that would be markup if it were not escaped.
const HOSTILE: &str = "</script><script>document.body.dataset.owned = 1</script><b title='\"'>& {{data}}";

fn row(layer: &str, batch: usize, way: &str, packed: &str, sparsity: u32, speedup: f64) -> Row {
    let dense = way == "direct" || way.starts_with('F');
    Row {
        layer: layer.into(),
        shape: "16x16x128 128 3x3/1".into(),
        device: "cpu".into(),
        batch,
        threads: 2,
        sparsity,
        zeros: if dense { 0.0 } else { f64::from(sparsity) },
        way: way.into(),
        packed: packed.into(),
        kernel: "gemm_8x32_avx512".into(),
        median_ms: 8.0 / speedup,
        low_ms: 7.5 / speedup,
        high_ms: 9.0 / speedup,
        over_direct: speedup,
        over_direct_low: 0.9 * speedup,
        over_direct_high: 1.1 * speedup,
        over_best: speedup / 2.5,
        over_best_low: speedup / 2.6,
        over_best_high: speedup / 2.4,
        macs: 1_000_000,
        live_macs: 10_000 * u64::from(100 - sparsity),
        products: 1_000_000,
        weight_bytes: 4096,
        peak_gflops: Some(100.0),
    }
}

/// Two layers at batch 1 and one at batch 16, each with a dense algorithm besides direct and two sparse ways.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (layer, batch) in [("resnet18 layer2.0.conv2", 1), (HOSTILE, 1), ("resnet18 layer2.0.conv2", 16)] {
        for sparsity in [0, 50, 90] {
            let ideal = 100.0 / f64::from(100 - sparsity);
            rows.push(row(layer, batch, "direct", "forced", sparsity, 1.0));
            rows.push(row(layer, batch, "F(4×4)", "chosen", sparsity, 2.5));
            rows.push(row(layer, batch, "pruned", "chosen", sparsity, 2.0 * ideal));
            rows.push(row(layer, batch, "weight", "forced", sparsity, 0.7 * ideal));
        }
    }
    rows
}

fn html() -> String {
    let head = [("cpu".to_string(), HOSTILE.to_string()), ("date".into(), "2026-01-01".into())];
    page("Atlas <of> & kernels", &head, &rows())
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn every_layer_of_a_batch_size_has_a_chart() {
    let Some(first) = view(&html(), "") else { return };
    assert_eq!(first.console, Vec::<String>::new());
    assert_eq!((count(&first.dom, "<figure>"), count(&first.dom, "data-drawn=\"2\"")), (2, 1));
    // Per chart: the best dense kernel and two ways, at three sparsities each, and the ideal.
    assert_eq!((count(&first.dom, "<circle"), count(&first.dom, "class=\"ideal\" x1")), (2 * 9, 2));
    let Some(second) = view(&html(), "#batch=16") else { return };
    assert_eq!((count(&second.dom, "<figure>"), count(&second.dom, "<circle")), (1, 9));
    let Some(third) = view(&html(), "?batch=16&pattern=weight&packing=forced") else { return };
    assert_eq!((count(&third.dom, "<figure>"), count(&third.dom, "<circle")), (1, 6));
    let Some(unknown) = view(&html(), "#batch=7&pattern=none") else { return };
    assert_eq!(count(&unknown.dom, "<figure>"), 2, "an unknown value leaves the first one");
}

#[test]
fn names_are_text_and_never_markup() {
    let Some(view) = view(&html(), "") else { return };
    assert!(!view.dom.contains("data-owned"));
    let shown =
        "&lt;script&gt;document.body.dataset.owned = 1&lt;/script&gt;&lt;b title='\"'&gt;&amp; {{data}}";
    // The caption of one chart, and the header of the file.
    assert_eq!(count(&view.dom, shown), 2);
    assert!(view.dom.contains("<title>Atlas &lt;of&gt; &amp; kernels</title>"));
}

#[test]
fn pickers_and_keys_work() {
    let acts = "<script>
        const select = document.getElementById('batch');
        select.value = '16';
        select.dispatchEvent(new Event('change'));
        document.body.dataset.address = location.hash;
        const chart = document.querySelector('figure svg');
        document.body.dataset.reachable = chart.tabIndex;
        for (const key of ['ArrowDown', 'ArrowRight', 'ArrowRight']) {
            chart.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        }
        document.body.dataset.tip = document.getElementById('tip').textContent;
        chart.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
        document.body.dataset.closed = document.getElementById('tip').hidden;
        const circle = document.querySelector('figure circle');
        circle.dispatchEvent(new PointerEvent('pointerenter'));
        document.body.dataset.hover = document.getElementById('tip').textContent;
    </script></body>";
    let Some(view) = view(&html().replace("</body>", acts), "") else { return };
    assert_eq!(view.console, Vec::<String>::new());
    assert_eq!(count(&view.dom, "<figure>"), 1);
    assert!(view.dom.contains("data-reachable=\"0\"") && view.dom.contains("data-closed=\"true\""));
    assert!(
        view.dom.contains("data-address=\"#device=cpu&amp;batch=16&amp;threads=2&amp;pattern=all"),
        "address"
    );
    // The third point of the second curve, pruned at 90 %.
    let tip = "data-tip=\"pruned, 90.0 % zeros, kernel chosen\n0.400 ms (0.375–0.450), gemm_8x32_avx512\n\
        0.500 GFLOP/s of nonzero weights, 5 % of the peak\n20.0× direct (18.0–22.0), 8.00× best dense\"";
    assert!(view.dom.contains(tip), "{}", view.dom);
    assert!(view.dom.contains("data-hover=\"F(4×4), dense\n3.20 ms"), "{}", view.dom);
}

#[test]
fn an_error_of_the_page_is_noticed() {
    let broken = html().replace("\"use strict\";", "\"use strict\"; console.error('broken');");
    let Some(view) = view(&broken, "") else { return };
    assert!(view.console.iter().any(|line| line.contains("broken")), "{:?}", view.console);
    let loads = html().replace("</body>", "<img src='https://example.invalid/x.png'></body>");
    let Some(view) = run(&loads, "", &["--dump-dom"]) else { return };
    assert!(view.console.iter().any(|line| line.contains("Content Security Policy")), "{:?}", view.console);
}

#[test]
fn charts_are_visible_on_light_and_dark_pages() {
    let Some((light, light_colors)) = pixels(&html(), &["--blink-settings=preferredColorScheme=1"]) else {
        return;
    };
    let Some((dark, dark_colors)) = pixels(&html(), &["--blink-settings=preferredColorScheme=0"]) else {
        return;
    };
    assert!(light < 0.2 && dark > 0.8, "dark pixels: {light} and {dark}");
    assert!(light_colors > 50 && dark_colors > 50, "{light_colors} and {dark_colors} colors: a blank page");
}

/// Only the browser can say that the page loads nothing; this says that it names nothing to load.
#[test]
fn the_page_refers_to_nothing_outside() {
    let html = html();
    let outside = ["src=", "href=\"http", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML"];
    for word in outside {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(count(&html, "http://www.w3.org/2000/svg"), count(&html, "://"), "only the namespace of SVG");
}
