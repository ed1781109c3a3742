//! Log lines for programs.

use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Writes each event as one JSON object in one line: `timestamp` (RFC 3339, UTC), `level`, `target`, `message`, `span`
/// (the innermost one's name), and beside them the fields of the event and of all its spans, so that everything about a
/// call is found by `call`, and about a party by `party`. Where names meet, the inner one holds.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields {
    values: Map<String, Value>,
    /// Where a record of the `log` crate came from: its event has another target.
    log_target: Option<String>,
}

impl<W> JsonLines<W> {
    /// Lines that go to what `writer` makes.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.values.extend(fields.values.clone());
            }
            line.set("span", span.name());
        }
        event.record(&mut line);
        let metadata = event.metadata();
        let target = line.log_target.take().unwrap_or_else(|| metadata.target().to_owned());
        line.set("target", target);
        line.set("level", metadata.level().as_str());
        line.set("timestamp", now());
        let mut bytes = Value::Object(line.values).to_string().into_bytes();
        bytes.push(b'\n');
        // In one piece: other threads log, too. There is nobody to tell of a log that can't be written.
        let _ = self.writer.make_writer_for(metadata).write_all(&bytes);
    }
}

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => self.log_target = Some(value.to_owned()),
            name if name.starts_with("log.") => {}
            name => self.set(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let written = Log::default();
        let writer = written.clone();
        let layer = JsonLines::new(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = std::mem::take(&mut *written.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn fields_of_all_spans_lie_beside_those_of_the_event() {
        let lines = lines(|| {
            let _call = info_span!("call", call = %"s-1", stage = "ringing").entered();
            let leg = info_span!("leg", party = %"p-1", codec = tracing::field::Empty).entered();
            leg.record("codec", "opus");
            warn!(stage = "up", lost = 3, share = 0.5, is_held = true, "a \"leg\"\nis up");
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        for (name, value) in [
            ("call", Value::from("s-1")),
            ("party", "p-1".into()),
            ("codec", "opus".into()),
            ("stage", "up".into()),
            ("lost", 3.into()),
            ("share", 0.5.into()),
            ("is_held", true.into()),
            ("message", "a \"leg\"\nis up".into()),
            ("level", "WARN".into()),
            ("target", module_path!().into()),
            ("span", "leg".into()),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.starts_with("20") && timestamp.ends_with('Z'), "{timestamp}");
    }

    #[test]
    fn an_event_outside_of_spans_is_a_line_of_its_own() {
        let lines = lines(|| {
            info!("one");
            info!(level = "forged", error = %io::Error::other("no"), "two");
        });
        let messages: Vec<&Value> = lines.iter().map(|line| &line["message"]).collect();
        assert_eq!(messages, ["one", "two"]);
        assert_eq!((&lines[1]["level"], &lines[1]["error"]), (&"INFO".into(), &"no".into()));
        assert_eq!(lines[0].get("span"), None);
    }
}
