# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Whether what the demo says has happened: the world against the database"""
from collections import namedtuple

from trytond.model import EvalEnvironment
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder

CRONS = [
    'marketing.automation.scenario|trigger',
    'marketing.automation.record.activity|process']
ON = {
    None: '',
    'email_opened': 'opened: ',
    'email_opened_not': 'not opened: ',
    'email_clicked': 'clicked: ',
    'email_clicked_not': 'not clicked: ',
    }
Row = namedtuple('Row', ['state', 'reason', 'opened', 'clicked'])


class Facts:
    """What the database knows, in the current transaction

    emails -- {Message-ID: (id of activity, id of record)}
    rows -- {(id of activity, id of record): Row}
    """

    def __init__(self):
        pool = Pool()
        Email = pool.get('ir.email')
        Hit = pool.get('marketing.automation.hit')
        RecordActivity = pool.get('marketing.automation.record.activity')
        self.emails = {
            e.message_id: (
                e.marketing_automation_activity.id,
                e.marketing_automation_record.id)
            for e in Email.search([])}
        self.rows = {
            (r.activity.id, r.record.id): Row(
                r.state, r.reason, r.email_opened, r.email_clicked)
            for r in RecordActivity.search([])}
        self.hits = {
            verdict: Hit.search([('verdict', '=', verdict)], count=True)
            for verdict in ['human', 'machine', 'unknown']}

    def keys(self, letter_ids):
        "Return the (activity, record) of the e-mails"
        return {self.emails[i] for i in letter_ids if i in self.emails}

    def records(self, activity, test):
        "Return the ids of the records whose row of the activity passes"
        return {
            r for (a, r), row in self.rows.items()
            if a == activity.id and test(row)}


class Check:
    "Yields (what is claimed, if it is true)"

    def __init__(self, readers, processes):
        self.readers = readers
        self.smtp = processes.smtp
        self.runs = processes.runs
        self.facts = Facts()

    def run(self):
        yield from self._delivery()
        yield from self._reading()
        yield from self._stopping()
        yield from self._following()
        yield from self._crons()

    def _crons(self):
        pool = Pool()
        Cron = pool.get('ir.cron')
        Error = pool.get('ir.error')
        crons = Cron.search([('method', 'in', CRONS)])
        # What fails leaves no log, but sometimes an error
        yield f"{self.runs} runs of {len(CRONS)} crons without error", (
            [len(c.logs) for c in crons] == [self.runs] * len(CRONS)
            and not Error.search([], count=True))

    def names(self):
        "Return {Message-ID: name of scenario and activity}"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        names = {
            a.id: f'{a.scenario.name}: {a.name}'
            for a in Activity.search([])}
        return {
            message_id: names[activity]
            for message_id, (activity, _) in self.facts.emails.items()}

    def _delivery(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        facts, letters = self.facts, self.readers.letters
        sending = {a.id for a in Activity.search([
                    ('action', '=', 'send_email')])}
        done = {
            key for key, row in facts.rows.items()
            if row.state == 'done' and key[0] in sending}
        yield (
            f"{len(letters)} e-mails at the mail server are "
            f"{len(done)} e-mails done",
            self.smtp.count == len(letters) == len(done)
            and facts.keys(letters) == done and not self.smtp.duplicates)
        yield "each e-mail speaks the language of its reader", all(
            letter.language == self._language(letter)
            for letter in letters.values())

    def _language(self, letter):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        if letter.id in self.facts.emails:
            _, record = self.facts.emails[letter.id]
            return Record(record).reading_context.get('language')

    def _reading(self):
        facts, readers = self.facts, self.readers
        for name, letters in [
                ('opened', readers.opened | readers.clicked),
                ('clicked', readers.clicked)]:
            marked = {
                k for k, row in facts.rows.items() if getattr(row, name)}
            yield (
                f"{len(letters)} e-mails {name} are {len(marked)} registered",
                facts.keys(letters) == marked)
        people = len(readers.opened) + len(readers.clicked)
        yield (
            f"{people} requests of people, {readers.machine_requests} of "
            f"the machine are told apart", facts.hits == {
                'human': people,
                'machine': readers.machine_requests,
                'unknown': 0,
                })

    def _stopping(self):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        stopped = {r for _, r in self.facts.keys(self.readers.stopped)}
        blocked = {r.id for r in Record.search([('blocked', '=', True)])}
        count = Unsubscription.search([], count=True)
        yield (
            f"{len(self.readers.stopped)} unsubscriptions are {count} stored "
            f"and block {len(blocked)} records",
            len(self.readers.stopped) == len(stopped) == count
            and stopped == blocked)

    def _following(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        for activity in Activity.search(
                [('parent.id', '!=', None, 'marketing.automation.activity')],
                order=[('id', 'ASC')]):
            done = self.facts.records(activity, lambda r: r.state == 'done')
            skipped = self.facts.records(
                activity, lambda r: r.reason == 'condition')
            expected, excluded = self._expected(activity)
            yield (
                f"{len(done)} times {activity.name} after "
                f"{activity.parent.name}",
                done == expected and skipped == excluded)

    def _expected(self, activity):
        "Return the records the readers have led to the activity, or nearly"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        parent = activity.parent
        readers = self.readers
        happened = {
            'email_opened': readers.opened | readers.clicked,
            'email_clicked': readers.clicked,
            }[activity.event]
        happened = self.facts.keys(happened)
        stopped = self._stopped_parties(activity.scenario)
        expected, excluded = set(), set()
        for record in Record.browse(self.facts.records(
                    parent, lambda r: r.state == 'done')):
            if (((parent.id, record.id) in happened) != activity.negative
                    and record.party not in stopped):
                if _fulfils(record.record, activity.condition):
                    expected.add(record.id)
                else:
                    excluded.add(record.id)
        return expected, excluded

    def _stopped_parties(self, scenario):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        ids = {r for _, r in self.facts.keys(self.readers.stopped)}
        return {
            r.party for r in Record.browse(ids) if r.scenario == scenario}


def _fulfils(record, condition):
    "Return if the PYSON condition is true for the record"
    environment = {'self': EvalEnvironment(record, record.__class__)}
    return not condition or PYSONDecoder(environment).decode(condition)


def table():
    "Yield the lines of a table of all scenarios"
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    for scenario in Scenario.search([], order=[('id', 'ASC')]):
        yield ''
        yield (f'{scenario.name:<44}{"done":>6}{"opened":>8}{"clicked":>9}'
            f'{"skipped":>9}{"failed":>8}')
        for activity in scenario.activities:
            yield from _branch(activity, '  ')


def _branch(activity, indent):
    name = indent + ON[activity.on] + activity.name
    counts = (
        f'{activity.email_opened:>8}{activity.email_clicked:>9}'
        if activity.action == 'send_email' else ' ' * 17)
    yield (f'{name:<44}{activity.record_count:>6}{counts}'
        f'{activity.skipped_count:>9}{activity.failed_count:>8}')
    for child in activity.children:
        yield from _branch(child, indent + '  ')
