//! From the OpenMetrics text format to the one before it, 0.0.4, line by line: there a counter and an info bear the name
//! of their samples, and nothing marks the end. Knows the texts that we write, not everybody's.

/// The same metrics in the older format.
pub(crate) fn from_open_metrics(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let words = line.strip_prefix("# ").map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
        match words.as_deref() {
            Some(["HELP", name, what]) => help = Some((*name, *what)),
            Some(["TYPE", name, kind]) => {
                let (end, kind) = match *kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, what)) = help.take().filter(|(of, _)| of == name) {
                    older.push_str(&format!("# HELP {name}{end} {what}\n"));
                }
                older.push_str(&format!("# TYPE {name}{end} {kind}\n"));
            }
            Some(_) => {}
            None => {
                older.push_str(line);
                older.push('\n');
            }
        }
    }
    older
}
