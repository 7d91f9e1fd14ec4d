import { Page, PageQuery } from '../../contracts/common.ts';
import { Host } from '../../contracts/tenants.ts';
import { type App, problems } from '../http.ts';
import type { HostsService } from './hosts.service.ts';

export function hostRoutes(app: App, hosts: HostsService): void {
  app.get(
    '/hosts',
    {
      config: { access: 'operator' },
      schema: {
        tags: ['hosts'],
        summary: 'Hosts, and what is left of them',
        querystring: PageQuery,
        response: { 200: Page(Host), ...problems(400, 401, 403) },
      },
    },
    async (request) => hosts.list(request.query),
  );
}
