// Formats numbers, times and durations for people. All times are UTC.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const TIME = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

export const DAY_MS = 86_400_000;

export const whole = (value) => WHOLE.format(value);
export const short = (value) => SHORT.format(value);
export const time = (iso) => `${TIME.format(new Date(iso))} UTC`;
export const day = (date) => DAY.format(date);

// A count; with a plus if there are more than were counted.
export const counted = (count, isExact) => (isExact ? whole(count) : `${whole(count)}+`);

export const memories = (count) => (count === 1 ? "memory" : "memories");

export function seconds(value) {
  if (value < 0.001) return "<1 ms";
  return value < 1 ? `${short(value * 1000)} ms` : `${short(value)} s`;
}

export function halfLife(days) {
  if (days < 1) return `${Math.round(days * 24)} hours`;
  return days === 1 ? "1 day" : `${whole(days)} days`;
}
