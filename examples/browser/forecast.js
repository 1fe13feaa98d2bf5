// Forecasts a series week by week with the network that build.py has compiled: one stream, one time step per measurement.
import { load } from "./build/forecast/forecast.js";

const DAY = 86400e3;
export const WEEKS_AHEAD = 39;

/** The series of examples/forecast: weekly CO2 at Mauna Loa in ppm. */
export async function loadSeries() {
  const response = await fetch(new URL("./build/series.json", import.meta.url));
  if (!response.ok) throw new Error(`${response.url}: ${response.status}; run build.py first`);
  return response.json();
}

export async function openForecaster(series) {
  return new Forecaster(await load(), series);
}

/** Takes one measurement after the other. `forecasts[week]` is what was forecast for a week when the one before it was in. */
export class Forecaster {
  constructor(model, series) {
    this.series = series;
    this.times = series.dates.map((date) => Date.parse(date));
    this.stream = model.stream();
    this.ahead = model.stream();
    this.frame = new Float32Array(3);
    this.change = new Float32Array(1);
    this.reset();
  }

  reset() {
    this.stream.reset();
    this.week = 0; // the last one that is measured
    this.forecasts = [];
  }

  get done() { return this.week + 1 >= this.series.values.length; }

  /** The next week's measurement is in: forecast the week after it. */
  next() {
    const { values } = this.series;
    this.week++;
    const change = values[this.week] - values[this.week - 1];
    this.forecasts[this.week + 1] = values[this.week] + this.#step(this.stream, change, this.times[this.week]);
  }

  /** The weeks to come as the network would have them: its own forecasts fed back, from the stream's state of now. */
  outlook() {
    this.ahead.restore(this.stream.state);
    const found = [this.forecasts[this.week + 1]];
    let change = found[0] - this.series.values[this.week];
    for (let k = 1; k < WEEKS_AHEAD; k++) {
      change = this.#step(this.ahead, change, this.times[this.week] + 7 * k * DAY);
      found.push(found.at(-1) + change);
    }
    return found;
  }

  /** The weeks that were not used in training and their root mean square errors: of the network, and of last week's value. */
  errors() {
    const start = Date.parse(this.series.evaluationStart), { values } = this.series;
    let weeks = 0, network = 0, persistence = 0;
    for (let week = 2; week <= this.week; week++) {
      if (this.times[week] < start) continue;
      weeks++;
      network += (this.forecasts[week] - values[week]) ** 2;
      persistence += (values[week - 1] - values[week]) ** 2;
    }
    return { weeks, network: Math.sqrt(network / weeks), persistence: Math.sqrt(persistence / weeks) };
  }

  /** The change in the coming week, in ppm, from the change in the last and the day of the year of the coming one. */
  #step(stream, change, time) {
    const next = new Date(time + 7 * DAY);
    const season = 2 * Math.PI * ((next - Date.UTC(next.getUTCFullYear(), 0, 0)) / DAY) / 365.25;
    this.frame.set([change / this.series.scale, Math.sin(season), Math.cos(season)]);
    return stream.step(this.frame, this.change)[0] * this.series.scale;
  }
}
