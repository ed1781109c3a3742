//! Utterances are cut where people pause: the demo call, whose turns are known, through the segmenter.

use std::path::Path;

use pipeline::resample::Resampler;
use pipeline::speech::{Endpointing, Segmenter, SpeechEvent, Window, millis, samples};

fn demo_call() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulator/calls/demo")
}

fn voice(role: &str) -> Vec<f32> {
    let wav = hound::WavReader::open(demo_call().join(format!("{role}.wav"))).unwrap();
    wav.into_samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect()
}

/// Start and end of a role's turns, in ms.
fn turns(role: &str) -> Vec<(u64, u64)> {
    let table = std::fs::read_to_string(demo_call().join("demo_call.tsv")).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row[0] == role)
        .map(|row| (row[1].parse().unwrap(), row[2].parse().unwrap()))
        .collect()
}

fn segment(audio: &[f32], chunk: usize) -> Vec<SpeechEvent> {
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    let mut events: Vec<_> = audio.chunks(chunk).flat_map(|chunk| segmenter.push(chunk)).collect();
    events.extend(segmenter.finish());
    events
}

/// The last draft of every utterance that ended.
fn utterances(events: &[SpeechEvent]) -> Vec<Window> {
    let mut last = None;
    let mut ended = Vec::new();
    for event in events {
        match event {
            SpeechEvent::Partial(_) => {}
            SpeechEvent::Draft(window) => last = Some(window.clone()),
            SpeechEvent::End { segment } => {
                let window = last.take().expect("an end follows a draft");
                assert_eq!(window.segment, *segment);
                ended.push(window);
            }
        }
    }
    assert!(last.is_none(), "a draft is followed by its end");
    ended
}

#[test]
fn every_turn_is_one_utterance_with_its_own_times() {
    for role in ["agent", "customer"] {
        let utterances = utterances(&segment(&voice(role), 960));
        let turns = turns(role);
        assert_eq!(utterances.len(), turns.len(), "{role}");
        for (utterance, (start, end)) in utterances.iter().zip(turns) {
            assert!(millis(utterance.speech_start).abs_diff(start) < 150, "{role} {start}");
            assert!(millis(utterance.speech_end).abs_diff(end) < 150, "{role} {end}");
        }
    }
}

#[test]
fn the_first_syllable_and_the_last_have_room() {
    for utterance in utterances(&segment(&voice("agent"), 960)) {
        assert!(utterance.speech_start - utterance.start >= samples(200));
        assert!(utterance.end() - utterance.speech_end >= samples(200));
    }
}

#[test]
fn speech_at_the_very_first_sample_is_heard_from_there() {
    let onset = samples(turns("agent")[0].0) as usize;
    let utterances = utterances(&segment(&voice("agent")[onset..], 960));
    assert_eq!(utterances[0].start, 0);
}

#[test]
fn how_audio_is_chunked_changes_nothing() {
    let audio = &voice("customer")[..samples(30_000) as usize];
    let spans = |chunk| {
        utterances(&segment(audio, chunk)).iter().map(|w| (w.start, w.end())).collect::<Vec<_>>()
    };
    assert_eq!(spans(1), spans(960));
    assert_eq!(spans(257), spans(16_000));
}

#[test]
fn partials_come_while_somebody_speaks_and_grow() {
    let events = segment(&voice("agent")[..samples(7_000) as usize], 960);
    let partials: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SpeechEvent::Partial(window) => Some(window),
            SpeechEvent::Draft(_) | SpeechEvent::End { .. } => None,
        })
        .collect();
    assert!(partials.len() >= 10);
    let first = partials[0];
    assert!(first.end() - first.speech_start <= samples(500));
    assert!(partials.is_sorted_by_key(|window| window.end()));
    assert!(partials.iter().all(|window| window.start == first.start));
}

#[test]
fn speech_without_a_pause_is_cut_and_no_sample_is_lost_or_repeated() {
    let (start, end) = turns("agent")[5];
    let turn = voice("agent")[samples(start) as usize..samples(end) as usize].to_vec();
    let endless = turn.repeat(5);
    let utterances = utterances(&segment(&endless, 960));
    assert!(utterances.len() >= 4);
    let longest = samples(Endpointing::default().longest_ms);
    assert!(utterances.iter().all(|window| window.end() - window.start <= longest));
    for pair in utterances.windows(2) {
        let between = pair[1].start.checked_sub(pair[0].end()).expect("no overlap");
        assert!(between < samples(600), "only silence lies between utterances");
    }
}

#[test]
fn hanging_up_in_mid_word_ends_the_utterance() {
    let events = segment(&voice("agent")[..samples(5_000) as usize], 960);
    assert!(matches!(events.last(), Some(SpeechEvent::End { segment: 0 })));
    assert_eq!(utterances(&events).len(), 1);
}

#[test]
fn silence_hiss_and_clicks_are_not_speech() {
    let silence = vec![0.0; samples(10_000) as usize];
    assert!(segment(&silence, 960).is_empty());

    let mut state = 1_u32;
    let hiss: Vec<f32> = (0..samples(20_000))
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 * 0.02 - 0.01
        })
        .collect();
    assert!(segment(&hiss, 960).is_empty());

    let mut clicks = silence;
    clicks.iter_mut().step_by(samples(700) as usize).for_each(|sample| *sample = 0.8);
    assert!(segment(&clicks, 960).is_empty());
}

#[test]
fn audio_that_was_never_sent_ends_the_utterance_and_keeps_the_clock() {
    let audio = voice("agent");
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    segmenter.push(&audio[..samples(4_000) as usize]);
    let events = segmenter.skip_to(samples(60_000));
    assert_eq!(utterances(&events).len(), 1);
    assert_eq!(segmenter.position(), samples(60_000));
    let (start, end) = turns("agent")[1];
    let turn = &audio[samples(start - 400) as usize..samples(end + 1_000) as usize];
    let next = utterances(&segmenter.push(turn));
    assert_eq!(next[0].segment, 1);
    assert!(millis(next[0].speech_start).abs_diff(60_400) < 150);
}

#[test]
fn a_resumed_stream_numbers_on_from_where_it_was() {
    let audio = voice("agent");
    let position = samples(turns("agent")[1].0 - 400);
    let mut segmenter = Segmenter::new(Endpointing::default(), position, 7);
    let events = segmenter.push(&audio[position as usize..samples(25_000) as usize]);
    let first = &utterances(&events)[0];
    assert_eq!(first.segment, 7);
    assert!(millis(first.speech_start).abs_diff(turns("agent")[1].0) < 150);
}

#[test]
fn audio_is_settled_up_to_the_open_utterance() {
    let audio = voice("agent");
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    segmenter.push(&audio[..samples(5_000) as usize]);
    let (start, _) = turns("agent")[0];
    assert!(segmenter.settled() <= samples(start));
    segmenter.push(&audio[samples(5_000) as usize..samples(12_000) as usize]);
    assert!(segmenter.settled() > samples(11_000));
}

/// What was recognised before an interruption and stored by the relay must be the same utterance when it is heard again.
#[test]
fn a_stream_that_resumes_at_an_utterance_cuts_as_it_did_before() {
    for role in ["agent", "customer"] {
        let audio = voice(role);
        let uninterrupted = utterances(&segment(&audio, 960));
        for (index, first) in uninterrupted.iter().enumerate() {
            let mut segmenter = Segmenter::new(Endpointing::default(), first.start, first.segment);
            let mut events = segmenter.push(&audio[first.start as usize..]);
            events.extend(segmenter.finish());
            let resumed = utterances(&events);
            assert_eq!(resumed.len(), uninterrupted.len() - index, "{role} {index}");
            for (again, before) in resumed.iter().zip(&uninterrupted[index..]) {
                assert_eq!(again.segment, before.segment);
                // A detector that starts afresh may be some frames off.
                let (start, end) = (again.speech_start, again.speech_end);
                assert!(
                    millis(start).abs_diff(millis(before.speech_start)) <= 100,
                    "{role} {start}"
                );
                assert!(millis(end).abs_diff(millis(before.speech_end)) <= 100, "{role} {end}");
            }
        }
    }
}

/// An hour of an 8 kHz party that says the same every minute, and sends nothing in between.
#[test]
fn times_do_not_drift_in_an_hour() {
    let said: Vec<i16> = voice("agent")[..16_000 * 12]
        .iter()
        .step_by(2)
        .map(|sample| (sample * 32_767.0) as i16)
        .collect();
    let minute = samples(60_000);
    let mut resampler = Resampler::new(8_000, 16_000).unwrap();
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    let mut starts: Vec<Vec<u64>> = Vec::new();
    for number in 0..60 {
        let mut events = segmenter.skip_to(number * minute);
        assert_eq!(segmenter.position(), number * minute);
        for frame in said.chunks(800) {
            events.extend(segmenter.push(&resampler.push(frame)));
        }
        events.extend(segmenter.push(&resampler.flush()));
        events.extend(segmenter.skip_to((number + 1) * minute));
        let of_minute = utterances(&events);
        starts.push(of_minute.iter().map(|it| it.speech_start - number * minute).collect());
    }
    assert!(!starts[0].is_empty());
    for (number, of_minute) in starts.iter().enumerate() {
        assert_eq!(of_minute.len(), starts[0].len(), "minute {number}");
        for (start, first) in of_minute.iter().zip(&starts[0]) {
            assert!(start.abs_diff(*first) <= samples(100), "minute {number}");
        }
    }
}
