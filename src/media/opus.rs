//! OGG/Opus: length and loudness of a voice note, and the writing of one. The only user of the codec crate. Blocking, CPU only.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use opus_pure::{
    Application, MAX_PACKET_BYTES, MAX_PACKET_SAMPLES, OggOpusReader, OggOpusWriter, OggPacket, OpusEncoder, OpusHead,
    packet,
};

/// Samples a second, of granule positions as well.
pub(super) const RATE: u32 = 48_000;
/// Loudness values that a voice note shows.
const BARS: usize = 64;
/// Packets decoded for one bar: enough to see how loud it is, so that hours cost as little as minutes.
const LOOKS: u64 = 150;
/// Loudness is all that is wanted from the decoder.
const LISTEN: i32 = 16_000;
/// Speech stays clear and music bearable; five megabytes hold twenty minutes.
const BITRATE: i32 = 32_000;
/// Samples of one packet: 20 ms.
const FRAME: usize = RATE as usize / 50;

/// What is known about a voice note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub seconds: u32,
    pub waveform: Vec<u8>,
    pub channels: u8,
}

/// Reads the whole file once for its length and parts of it for its loudness. A damaged end is left out.
pub(super) fn facts(path: &Path) -> Result<Facts, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut reader = OggOpusReader::new(BufReader::new(file)).map_err(|e| e.to_string())?;
    let head = reader.head().clone();
    let mut packet = OggPacket::default();
    let (mut counted, mut granule) = (0_u64, 0_u64);
    while let Ok(true) = reader.read_packet_into(&mut packet) {
        counted += length(&packet);
        granule = granule.max(u64::try_from(packet.page_granule).unwrap_or(0));
    }
    if counted == 0 {
        return Err("it holds no sound".into());
    }
    // The last page says how much of the last packet is meant. Streams cut out of longer ones begin above zero: then what is there counts.
    let heard = if granule > 0 && granule <= counted { granule } else { counted };
    let samples = heard.saturating_sub(head.pre_skip.into()).max(1);
    let seconds = u32::try_from((samples + u64::from(RATE) / 2) / u64::from(RATE)).unwrap_or(u32::MAX).max(1);
    reader.rewind().map_err(|e| e.to_string())?;
    let waveform = waveform(reader, &head, counted)?;
    Ok(Facts { seconds, waveform, channels: head.channel_count })
}

/// Samples that a packet plays, zero for a broken one.
fn length(packet: &OggPacket) -> u64 {
    packet::samples_48k(&packet.data).map_or(0, |n| n as u64)
}

/// Root mean square of each bar, the loudest being 100.
fn waveform(mut reader: OggOpusReader<BufReader<File>>, head: &OpusHead, total: u64) -> Result<Vec<u8>, String> {
    let mut decoder = head.decoder(LISTEN).map_err(|e| e.to_string())?;
    let mut block = vec![0.0_f32; MAX_PACKET_SAMPLES * usize::from(head.channel_count.max(1))];
    let mut packet = OggPacket::default();
    let mut bars = [(0.0_f64, 0_u64); BARS];
    let (mut at, mut bar_before, mut looked) = (0_u64, usize::MAX, 0);
    while let Ok(true) = reader.read_packet_into(&mut packet) {
        let bar = ((at as u128 * BARS as u128 / u128::from(total)) as usize).min(BARS - 1);
        at += length(&packet);
        if bar != bar_before {
            (bar_before, looked) = (bar, 0);
        }
        looked += 1;
        if looked > LOOKS {
            continue;
        }
        // A broken packet is silence.
        let decoded = decoder.decode(&packet.data, MAX_PACKET_SAMPLES, &mut block).unwrap_or(0);
        let samples = &block[..(decoded * usize::from(head.channel_count)).min(block.len())];
        bars[bar].0 += samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        bars[bar].1 += samples.len() as u64;
    }
    let mut loudness = [0.0_f64; BARS];
    let mut last = 0.0;
    for (value, (energy, n)) in loudness.iter_mut().zip(bars) {
        // Notes of less than 64 packets have bars without one of their own.
        last = if n > 0 { (energy / n as f64).sqrt() } else { last };
        *value = last;
    }
    let peak = loudness.iter().copied().fold(0.0, f64::max);
    Ok(loudness
        .iter()
        .map(|v| if peak > 1e-6 { (v / peak * 100.0).round().clamp(0.0, 100.0) as u8 } else { 0 })
        .collect())
}

/// Writes mono sound as OGG/Opus.
pub(super) struct Writer<W: Write> {
    encoder: OpusEncoder,
    ogg: OggOpusWriter<BufWriter<W>>,
    pending: Vec<f32>,
    packet: Vec<u8>,
    samples: u64,
    pre_skip: u16,
    written: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(sink: W) -> Result<Self, String> {
        let mut encoder = OpusEncoder::new(RATE as i32, 1, Application::Audio).map_err(|e| e.to_string())?;
        encoder.bitrate_bps = BITRATE;
        let head = OpusHead::for_encoder(&encoder, RATE);
        let pre_skip = head.pre_skip;
        let ogg = OggOpusWriter::new(BufWriter::new(sink), head).map_err(|e| e.to_string())?;
        Ok(Self {
            encoder,
            ogg,
            pending: Vec::new(),
            packet: vec![0; MAX_PACKET_BYTES],
            samples: 0,
            pre_skip,
            written: 0,
        })
    }

    /// Takes more sound at 48 kHz.
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), String> {
        self.samples += samples.len() as u64;
        self.pending.extend_from_slice(samples);
        let whole = self.pending.len() / FRAME * FRAME;
        // The last packet is written by `finish`, which knows its length.
        let whole = if whole == self.pending.len() { whole.saturating_sub(FRAME) } else { whole };
        for at in (0..whole).step_by(FRAME) {
            let n = self
                .encoder
                .encode(&self.pending[at..at + FRAME], FRAME, &mut self.packet)
                .map_err(|e| e.to_string())?;
            self.written += n as u64;
            self.ogg.write_packet(&self.packet[..n]).map_err(|e| e.to_string())?;
        }
        self.pending.drain(..whole);
        Ok(())
    }

    /// Sound taken so far, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        self.samples / u64::from(RATE)
    }

    /// Bytes of sound written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.written
    }

    /// Ends the file where the sound ends. The encoder runs a little behind, so silence pushes the rest out of it.
    pub(super) fn finish(mut self) -> Result<W, String> {
        let end = u64::from(self.pre_skip) + self.samples;
        let missing = usize::from(self.pre_skip);
        let padded = (self.pending.len() + missing).div_ceil(FRAME) * FRAME;
        self.pending.resize(padded.max(FRAME), 0.0);
        let frames = self.pending.len() / FRAME;
        for (i, frame) in self.pending.chunks_exact(FRAME).enumerate() {
            let n = self.encoder.encode(frame, FRAME, &mut self.packet).map_err(|e| e.to_string())?;
            let so_far = u64::try_from(self.ogg.granule()).unwrap_or(0);
            let played = if i + 1 == frames { end.saturating_sub(so_far).clamp(1, FRAME as u64) } else { FRAME as u64 };
            self.ogg.write_packet_with_duration(&self.packet[..n], played as u32).map_err(|e| e.to_string())?;
        }
        let sink = self.ogg.finish().map_err(|e| e.to_string())?;
        sink.into_inner().map_err(|e| e.error().to_string())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A tone that is silent in its first half, as OGG/Opus.
    pub(crate) fn note(seconds: f32) -> Vec<u8> {
        let total = (seconds * RATE as f32) as usize;
        let tone = |i: usize| {
            if i < total / 2 { 0.0 } else { (i as f32 * 440.0 * std::f32::consts::TAU / RATE as f32).sin() * 0.5 }
        };
        let samples: Vec<f32> = (0..total).map(tone).collect();
        let mut writer = Writer::new(Vec::new()).expect("an encoder");
        samples.chunks(1000).for_each(|piece| writer.push(piece).expect("encoded"));
        writer.finish().expect("finished")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Facts, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        facts(file.path())
    }

    #[test]
    fn length_and_loudness_of_a_note() {
        let facts = read(&testing::note(3.0)).expect("facts");
        assert_eq!((facts.seconds, facts.channels, facts.waveform.len()), (3, 1, 64));
        assert!(facts.waveform[..30].iter().all(|v| *v < 10), "silence first: {:?}", facts.waveform);
        assert!(facts.waveform[36..].iter().all(|v| (60..=100).contains(v)), "then the tone: {:?}", facts.waveform);
        assert!(facts.waveform.contains(&100));
    }

    #[test]
    fn the_file_ends_where_the_sound_ends() {
        for samples in [1_usize, 959, 960, 961, 48_000, 50_003] {
            let mut writer = Writer::new(Vec::new()).expect("an encoder");
            writer.push(&vec![0.1; samples]).expect("encoded");
            let bytes = writer.finish().expect("finished");
            let mut reader = OggOpusReader::new(&bytes[..]).expect("an Ogg file");
            let pre_skip = i64::from(reader.head().pre_skip);
            let mut last = 0;
            while let Some(packet) = reader.read_packet().expect("whole") {
                last = packet.page_granule;
            }
            assert_eq!(last - pre_skip, samples as i64);
        }
    }

    #[test]
    fn a_short_or_silent_note_still_has_all_its_bars() {
        let facts = read(&testing::note(0.2)).expect("facts");
        assert_eq!((facts.seconds, facts.waveform.len()), (1, 64));
        let mut writer = Writer::new(Vec::new()).expect("an encoder");
        writer.push(&vec![0.0; 48_000]).expect("encoded");
        assert_eq!(read(&writer.finish().expect("finished")).expect("facts").waveform, vec![0; 64]);
    }

    #[test]
    fn a_cut_off_note_keeps_what_is_there_and_a_broken_one_says_so() {
        let whole = testing::note(8.0);
        let facts = read(&whole[..whole.len() / 2]).expect("the first pages are whole");
        assert!((1..8).contains(&facts.seconds), "{}", facts.seconds);
        assert!(read(&whole[..60]).is_err());
        assert!(read(b"OggS and nothing").is_err());
    }
}
