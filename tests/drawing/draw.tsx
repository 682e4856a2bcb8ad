// The dashboard, drawn with Grafana's own components from the answers of a Prometheus.
//     ?prometheus=URL&end=SECONDS&seconds=N
import {
  DataFrame, FieldType, applyFieldOverrides, createTheme, dateTime, getFieldDisplayValues, standardFieldConfigEditorRegistry,
  standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { BigValue, PanelChrome, Table, ThemeContext, TimeSeries, VizRepeater } from '@grafana/ui';
import dashboard from 'dashboard';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { lastValueFrom } from 'rxjs';

const asked = new URLSearchParams(location.search);
const seconds = Number(asked.get('seconds')), end = Number(asked.get('end')), start = end - seconds;
const [from, to] = [dateTime(start * 1000), dateTime(end * 1000)];
const range = { from, to, raw: { from, to } };
const theme = createTheme({ colors: { mode: 'light' } });
const GAP = 8, ROW = 30, COLUMN = (window.innerWidth - 2 * GAP - 23 * GAP) / 24;

// ---- What Grafana's application, which is in no package, brings along -----------------------

const COLORS: Record<string, string> = { timeseries: 'palette-classic', stat: 'thresholds', table: 'thresholds' };
const THRESHOLDS = { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] };
const LINES = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, showPoints: 'auto', pointSize: 5, spanNulls: false,
  axisPlacement: 'auto', scaleDistribution: { type: 'linear' },
};
const SCRAPE = 15;
const OPTIONS = ['unit', 'min', 'max', 'decimals', 'color', 'thresholds', 'mappings'];
standardFieldConfigEditorRegistry.setInit(() =>
  OPTIONS.map((id) => ({ id, path: id, name: id, process: (value: any) => value, shouldApply: () => true })) as any);
standardTransformersRegistry.setInit(() =>
  [...new Map(Object.values(standardTransformers).map((each: any) => [each.id, each])).values()]
    .map((each) => ({ id: each.id, name: each.name, transformation: each, editor: () => null })) as any);

/** A step for every pixel, at least the target's interval; rates are over four of these. */
function fill(target: any, width: number) {
  const [pixel, least] = [Math.ceil(seconds / width), target.interval ? parseInt(target.interval) : SCRAPE];
  const query = target.expr.replaceAll('$namespace', '.*').replaceAll('$server', '.*')
    .replaceAll('$__rate_interval', `${Math.max(pixel + least, 4 * least)}s`);
  return { query, step: Math.max(pixel, least) };
}

/** What its backend makes of an answer: a table of all series, or a frame of each, with its gaps. */
async function ask(target: any, width: number): Promise<DataFrame[]> {
  const { query, step } = fill(target, width);
  const path = target.instant ? `query?time=${end}` : `query_range?start=${start}&end=${end}&step=${step}`;
  const answer = await (await fetch(`${asked.get('prometheus')}/api/v1/${path}&query=${encodeURIComponent(query)}`)).json();
  if (answer.status !== 'success') throw new Error(answer.error);
  const found: any[] = answer.data.result;
  if (target.format === 'table') {
    const labels = [...new Set(found.flatMap((each) => Object.keys(each.metric)))].sort();
    return [toDataFrame({ fields: [
      { name: 'Time', type: FieldType.time, values: found.map((each) => each.value[0] * 1000) },
      ...labels.map((name) => ({ name, type: FieldType.string, values: found.map((each) => each.metric[name] ?? '') })),
      { name: 'Value', type: FieldType.number, values: found.map((each) => Number(each.value[1])) },
    ] })];
  }
  const times = Array.from({ length: Math.floor(seconds / step) + 1 }, (_, n) => start + n * step);
  return found.map(({ metric, values }) => {
    const name = target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_: string, label: string) => metric[label] ?? '');
    const known = new Map<number, number>(values.map(([time, value]: [number, string]) => [time, Number(value)]));
    return toDataFrame({ refId: target.refId, name, fields: [
      { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000) },
      { name: 'Value', type: FieldType.number, labels: metric, config: { displayNameFromDS: name },
        values: times.map((time) => known.get(time) ?? null) },
    ] });
  });
}

function configure(data: DataFrame[], { type, fieldConfig }: any): DataFrame[] {
  const defaults = { thresholds: THRESHOLDS, mappings: [], color: { mode: COLORS[type] }, ...fieldConfig.defaults };
  const made = applyFieldOverrides({
    data, fieldConfig: { ...fieldConfig, defaults }, theme, timeZone: 'utc', replaceVariables: (text) => text,
  });
  if (type === 'timeseries') for (const field of made.flatMap((frame) => frame.fields)) field.config.custom = LINES;
  return made;
}

function Content({ panel, data, width, height }: any) {
  if (!data.some((frame: DataFrame) => frame.length)) return <p style={{ padding: GAP }}>No data</p>;
  const { options } = panel, size = { width, height };
  switch (panel.type) {
    case 'timeseries':
      return <TimeSeries {...size} frames={data} timeRange={range} timeZone="utc" structureRev={1} options={options}
        legend={{ calcs: [], showLegend: true, ...options.legend }} />;
    case 'table':
      return <Table {...size} data={data[0]} />;
    case 'stat': {
      const values = () => getFieldDisplayValues({ data, theme, timeZone: 'utc', sparkline: true, replaceVariables: (text) => text,
        fieldConfig: panel.fieldConfig, reduceOptions: options.reduceOptions });
      return <VizRepeater {...size} getValues={values} source={data} itemSpacing={3} renderCounter={0} orientation={'auto' as any}
        renderValue={({ value, width, height, count }: any) => <BigValue {...{ width, height, count, theme }} value={value.display}
          sparkline={value.sparkline} colorMode={options.colorMode} graphMode={options.graphMode} />} />;
    }
  }
  throw new Error(`no panel of type ${panel.type} is known here`);
}

// ---- The page ------------------------------------------------------------------------------

let waiting = dashboard.panels.length;

function Panel({ panel }: any) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * (COLUMN + GAP) - GAP, h * (ROW + GAP) - GAP];
  const [data, setData] = useState<DataFrame[]>();
  useEffect(() => void (async () => {
    const asked = await Promise.all((panel.targets ?? []).map((each: any) => ask(each, Math.round(width))));
    const shaped = await lastValueFrom(transformDataFrame(panel.transformations ?? [], asked.flat()));
    setData(panel.type === 'row' ? [] : configure(shaped, panel));
    waiting -= 1;
    if (!waiting) setTimeout(() => fetch('drawn'), 2000); // icons come later
  })(), []);
  return <div style={{ position: 'absolute', left: GAP + x * (COLUMN + GAP), top: GAP + y * (ROW + GAP), width, height }}>
    {panel.type === 'row' ? <b>{panel.title}</b> :
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(width, height) => data && <Content {...{ panel, data, width, height }} />}
      </PanelChrome>}
  </div>;
}

const { background, text } = theme.colors;
document.body.style.cssText = `margin:0; background:${background.canvas}; color:${text.primary}; font:14px/1.57 sans-serif`;
createRoot(document.getElementById('root')!).render(<ThemeContext.Provider value={theme}>
  {dashboard.panels.map((panel: any) => <Panel key={panel.id} panel={panel} />)}
</ThemeContext.Provider>);
