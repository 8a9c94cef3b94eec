//! Other audio becomes a voice note: decoded, mixed to one channel, resampled, encoded. Blocking, CPU only.

use std::fs::File;
use std::path::Path;

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;
use tempfile::NamedTempFile;

use super::opus::{self, RATE};

/// Longer sound is not made a voice note.
const MOST_SECONDS: u64 = 4 * 3600;
/// Sampling rates that sound has.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Why sound did not become a voice note.
#[derive(Debug)]
pub(super) enum VoiceError {
    /// Nothing here reads it.
    Unknown(String),
    /// It is larger than the cap already when this much is written.
    TooLarge(u64),
}

/// Decodes `from` and writes it to `to` as OGG/Opus of at most `cap` bytes.
pub(super) fn convert(from: &Path, extension: Option<&str>, to: &NamedTempFile, cap: u64) -> Result<(), VoiceError> {
    let unknown = |e: &dyn std::fmt::Display| VoiceError::Unknown(e.to_string());
    let file = File::open(from).map_err(|e| unknown(&e))?;
    let mut hint = Hint::new();
    if let Some(extension) = extension {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, Default::default(), Default::default())
        .map_err(|e| unknown(&e))?;
    let track = format.default_track(TrackType::Audio).ok_or_else(|| unknown(&"it has no sound"))?;
    let id = track.id;
    let parameters =
        track.codec_params.as_ref().and_then(|p| p.audio()).ok_or_else(|| unknown(&"its sound is of no known form"))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|e| unknown(&e))?;

    let mut writer = opus::Writer::new(to.as_file()).map_err(|e| unknown(&e))?;
    let mut resampler: Option<Resampler> = None;
    let (mut samples, mut mono, mut out) = (Vec::<f32>::new(), Vec::new(), Vec::new());
    // What follows damage is left out; what came before is sound.
    while let Ok(Some(packet)) = format.next_packet() {
        if packet.track_id != id {
            continue;
        }
        let sound = match decoder.decode(&packet) {
            Ok(sound) => sound,
            Err(Error::DecodeError(_)) => continue,
            Err(_) => break,
        };
        let (rate, channels) = (sound.spec().rate(), sound.num_planes());
        if sound.is_empty() || channels == 0 {
            continue;
        }
        if !RATES.contains(&rate) {
            return Err(unknown(&format_args!("it has {rate} samples a second")));
        }
        samples.resize(sound.samples_interleaved(), 0.0);
        sound.copy_to_slice_interleaved(&mut samples);
        mono.clear();
        mono.extend(samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32));
        out.clear();
        match &mut resampler {
            Some(resampler) if resampler.from == rate => resampler.push(&mono, &mut out),
            slot => slot.insert(Resampler::new(rate)).push(&mono, &mut out),
        }
        writer.push(&out).map_err(|e| unknown(&e))?;
        if writer.bytes() > cap {
            return Err(VoiceError::TooLarge(writer.bytes()));
        }
        if writer.seconds() > MOST_SECONDS {
            return Err(unknown(&"it is longer than four hours"));
        }
    }
    out.clear();
    if let Some(resampler) = &mut resampler {
        resampler.finish(&mut out);
        writer.push(&out).map_err(|e| unknown(&e))?;
    }
    if resampler.is_none() {
        return Err(unknown(&"it holds no sound"));
    }
    writer.finish().map(drop).map_err(|e| unknown(&e))
}

/// To 48 kHz by a windowed sinc, whose table has one row for every place that an output sample can have between two input samples.
struct Resampler {
    from: u32,
    /// Output samples in each `down` input samples.
    up: u64,
    down: u64,
    /// Input samples under the window; even.
    taps: usize,
    table: Vec<f32>,
    held: Vec<f32>,
    /// The next output sample, in 1/up of an input sample after the start of `held`.
    at: u64,
}

impl Resampler {
    fn new(from: u32) -> Self {
        let shared = gcd(from, RATE);
        let (up, down) = (u64::from(RATE / shared), u64::from(from / shared));
        // Above half of the lower rate nothing may pass.
        let cutoff = (f64::from(RATE) / f64::from(from)).min(1.0);
        let taps = (32.0 / cutoff).ceil() as usize / 2 * 2;
        let half = taps as f64 / 2.0;
        let mut table = Vec::with_capacity(up as usize * taps);
        for phase in 0..up {
            let row = (0..taps).map(|k| {
                let away = k as f64 - (half - 1.0) - phase as f64 / up as f64;
                let x = std::f64::consts::PI * away * cutoff;
                let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
                let w = std::f64::consts::PI * (away / half).clamp(-1.0, 1.0);
                sinc * cutoff * (0.42 + 0.5 * w.cos() + 0.08 * (2.0 * w).cos())
            });
            table.extend(row.map(|v| v as f32));
        }
        // Half a window of silence before the start puts the first sample into its middle.
        Self { from, up, down, taps, table, held: vec![0.0; taps / 2 - 1], at: 0 }
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        if self.up == self.down {
            out.extend_from_slice(samples);
            return;
        }
        self.held.extend_from_slice(samples);
        loop {
            let (start, phase) = ((self.at / self.up) as usize, (self.at % self.up) as usize);
            let Some(window) = self.held.get(start..start + self.taps) else { break };
            let row = &self.table[phase * self.taps..][..self.taps];
            out.push(window.iter().zip(row).map(|(s, w)| s * w).sum());
            self.at += self.down;
        }
        let used = ((self.at / self.up) as usize).min(self.held.len());
        self.held.drain(..used);
        self.at -= used as u64 * self.up;
    }

    fn finish(&mut self, out: &mut Vec<f32>) {
        if self.up != self.down {
            self.push(&vec![0.0; self.taps / 2], out);
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Sound files made by hand.
#[cfg(test)]
pub(super) mod testing {
    /// A WAV file of 16 bits with a tone on every channel.
    pub(crate) fn wav(rate: u32, channels: u16, seconds: f32) -> Vec<u8> {
        let frames = (rate as f32 * seconds) as u32;
        let bytes = frames * u32::from(channels) * 2;
        let mut out = b"RIFF".to_vec();
        out.extend((36 + bytes).to_le_bytes());
        out.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        out.extend(channels.to_le_bytes());
        out.extend(rate.to_le_bytes());
        out.extend((rate * u32::from(channels) * 2).to_le_bytes());
        out.extend((channels * 2).to_le_bytes());
        out.extend(16_u16.to_le_bytes());
        out.extend(b"data");
        out.extend(bytes.to_le_bytes());
        for i in 0..frames {
            let tone = (i as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin() * 16000.0;
            (0..channels).for_each(|_| out.extend((tone as i16).to_le_bytes()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(bytes: &[u8], cap: u64) -> Result<opus::Facts, VoiceError> {
        let from = NamedTempFile::new().expect("a file");
        std::fs::write(from.path(), bytes).expect("written");
        let to = NamedTempFile::new().expect("a file");
        convert(from.path(), None, &to, cap)?;
        Ok(opus::facts(to.path()).expect("a voice note"))
    }

    #[test]
    fn sound_of_any_rate_keeps_its_length() {
        for (rate, channels) in [(8_000, 1), (16_000, 2), (22_050, 1), (44_100, 2), (48_000, 1), (96_000, 2)] {
            let facts = converted(&testing::wav(rate, channels, 2.0), u64::MAX).expect("converted");
            assert_eq!((facts.seconds, facts.channels), (2, 1), "{rate}");
            assert!(facts.waveform[2..62].iter().all(|v| *v > 80), "{rate}: {:?}", facts.waveform);
        }
    }

    #[test]
    fn a_tone_passes_and_what_the_new_rate_cannot_hold_does_not() {
        let tone = |rate: u32, hz: f32| -> Vec<f32> {
            (0..rate).map(|i| (i as f32 * hz * std::f32::consts::TAU / rate as f32).sin()).collect()
        };
        let level = |rate: u32, hz: f32| {
            let mut resampler = Resampler::new(rate);
            let mut out = Vec::new();
            tone(rate, hz).chunks(777).for_each(|piece| resampler.push(piece, &mut out));
            resampler.finish(&mut out);
            assert!((47_990..=48_010).contains(&out.len()), "{rate}: {}", out.len());
            let middle = &out[4_800..43_200];
            (middle.iter().map(|s| s * s).sum::<f32>() / middle.len() as f32).sqrt()
        };
        for rate in [8_000, 11_025, 44_100, 96_000, 192_000] {
            let kept = level(rate, 1_000.0);
            assert!((0.69..0.72).contains(&kept), "{rate}: {kept}");
        }
        assert!(level(96_000, 40_000.0) < 0.01);
        // No mirror image above the old rate's half.
        let expected = tone(48_000, 1_000.0);
        let mut out = Vec::new();
        Resampler::new(8_000).push(&tone(8_000, 1_000.0), &mut out);
        let wrong = out[4_800..40_000].iter().zip(&expected[4_800..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(wrong < 0.02, "{wrong}");
    }

    #[test]
    fn what_cannot_be_read_or_is_too_long_says_so() {
        assert!(matches!(converted(b"no sound at all", u64::MAX), Err(VoiceError::Unknown(_))));
        assert!(matches!(converted(&testing::wav(48_000, 1, 5.0), 1_000), Err(VoiceError::TooLarge(n)) if n > 1_000));
        let wav = testing::wav(16_000, 1, 2.0);
        assert_eq!(converted(&wav[..wav.len() / 2], u64::MAX).expect("the first half").seconds, 1);
    }
}
