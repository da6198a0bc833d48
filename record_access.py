# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What users see of records in scenarios whose model they may not read"""
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction, check_access


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    def get_rec_name(self, name):
        if self.record and not _may_read(self.record):
            return f'({self.id})'
        return super().get_rec_name(name)

    @classmethod
    def read(cls, ids, fields_names):
        "Read, with a number in the place of a name that may not be read"
        nested = {n for n in fields_names if n.startswith('record.')}
        if not nested or not Transaction().check_access:
            return super().read(ids, fields_names)
        hidden = {
            r.id: r.record.id for r in cls.browse(ids)
            if r.record and not _may_read(r.record)}
        rows = super().read(
            [i for i in ids if i not in hidden], fields_names)
        for row in super().read(
                list(hidden), [n for n in fields_names if n not in nested]):
            id_ = hidden[row['id']]
            row['record.'] = {'id': id_, 'rec_name': f'({id_})'}
            rows.append(row)
        order = {id_: i for i, id_ in enumerate(ids)}
        return sorted(rows, key=lambda r: order[r['id']])


def _may_read(record):
    "Return if the user may read the model of the record"
    pool = Pool()
    ModelAccess = pool.get('ir.model.access')
    with check_access():
        return ModelAccess.check(
            record.__name__, 'read', raise_exception=False)
