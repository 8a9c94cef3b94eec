//! Locations as one line of text (behaviour.md 7.4).

use whatsapp_rust::waproto::whatsapp as wa;

/// The line for a pin, a place or a live location, and its caption below it.
pub(super) fn line(m: &wa::Message) -> Option<String> {
    if let Some(live) = m.live_location_message.as_option() {
        let at = coordinates(live.degrees_latitude, live.degrees_longitude, live.accuracy_in_meters)?;
        return Some(captioned(format!("🛰 Live location: {at}"), live.caption.as_deref()));
    }
    let pin = m.location_message.as_option()?;
    let at = coordinates(pin.degrees_latitude, pin.degrees_longitude, pin.accuracy_in_meters)?;
    if pin.is_live == Some(true) {
        return Some(captioned(format!("🛰 Live location: {at}"), pin.comment.as_deref()));
    }
    let parts: Vec<&str> = [pin.name.as_deref(), pin.address.as_deref()]
        .into_iter()
        .flatten()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let text = if parts.is_empty() { format!("📍 {at}") } else { format!("📍 {} ({at})", parts.join(" — ")) };
    Some(captioned(text, pin.comment.as_deref()))
}

fn coordinates(latitude: Option<f64>, longitude: Option<f64>, accuracy: Option<u32>) -> Option<String> {
    let (latitude, longitude) = (latitude?, longitude?);
    if !latitude.is_finite() || !longitude.is_finite() {
        return None;
    }
    let accuracy = accuracy.filter(|m| *m > 0).map(|m| format!(" ±{m}m")).unwrap_or_default();
    Some(format!("{latitude:.6}, {longitude:.6}{accuracy}"))
}

fn captioned(line: String, caption: Option<&str>) -> String {
    match caption.map(str::trim).filter(|c| !c.is_empty()) {
        Some(caption) => format!("{line}\n{caption}"),
        None => line,
    }
}
