"""Deploy certbot's certificates to Qiniu Cloud (七牛云) and nginx, at every renewal.

The plugin is certbot's installer ``qiniu``. Issue once, with any authenticator::

    certbot -a dns-aliyun -i qiniu \\
        --dns-aliyun-credentials /etc/letsencrypt/qiniu.ini \\
        --qiniu-credentials /etc/letsencrypt/qiniu.ini \\
        -d example.com -d '*.example.com'

and renew for ever, from a timer::

    certbot renew

Credentials
-----------

One INI file, readable only by root (``chmod 600``), may serve both plugins:

.. code-block:: ini

    dns_aliyun_access_key = …
    dns_aliyun_access_key_secret = …
    qiniu_access_key = …
    qiniu_secret_key = …

Named arguments
---------------

See :data:`certbot_qiniu.options.OPTIONS`, or ``certbot --help qiniu``. Redirects are certbot's own
``--redirect`` and ``--no-redirect``.
"""
